#!/usr/bin/env python3
"""A program that speaks the protocol badly, each time in another way."""

import os
import socket
import sys

how = sys.argv[1].split("=")[1].strip('"')
actor = socket.socket(fileno=3)
hello = actor.recv(100)
assert hello.startswith(b"hello 1 "), hello
descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))
if how == "looks around":
    # 6 is the folder that was just listed.
    actor.send(f"!{descriptors}".encode())
if how == "nonsense":
    actor.send(b"good day")
spec = b'spec {"obs": {"vector": {"len": 2}}, "actions": {"discrete": 2}}'
if how == "no spec":
    spec = b'spec {"obs": {"vector": {"len": 0}}, "actions": {"discrete": 2}}'
if how == "huge":
    spec = b'spec {"obs": {"image": {"shape": [4000000000, 4000000000, 4000000000], "high": 1}}, "actions": {"discrete": 2}}'
if how == "changes" and hello != b"hello 1 1 0":
    spec = spec.replace(b'"len": 2', b'"len": 3')
actor.send(spec)
words = actor.recv(100)
if words:
    actor.send(b".")
while actor.recv(100):
    if how == "cuts":
        os.ftruncate(4, 0)
    if how == "talks":
        actor.send(b"done")
    actor.send(b".")
