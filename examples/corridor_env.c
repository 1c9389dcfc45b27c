/* A corridor as an environment process, in C: docs/environment-protocol.md says what is said.
 *     cc -O2 -o corridor_env examples/corridor_env.c && impala train --env exec:./corridor_env */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { SOCKET = 3, MEMORY = 4 };
enum { TERMINATED = 1, TRUNCATED = 2, EPISODE = 4, RESET = 8 };
static char message[4096];

static int hear(void) { /* one message; 0: no more is wanted */
    ssize_t n = recv(SOCKET, message, sizeof message - 1, 0);
    message[n > 0 ? n : 0] = 0;
    return n > 0;
}

static int say(const char *text) { return send(SOCKET, text, strlen(text), MSG_NOSIGNAL) < 0; }

typedef struct { float position; int steps, ended; uint64_t random; double sum; } Env;

static float reset(Env *env) {
    env->random = env->random * 6364136223846793005u + 1442695040888963407u;
    env->steps = env->ended = 0, env->sum = 0;
    return env->position = (float)(env->random >> 40) / (1 << 24) * 0.2f - 0.1f;
}

int main(void) {
    int n;
    unsigned long long seed;
    size_t size, obs_at, rewards_at, flags_at, stats_at, actions_at;
    if (!hear() || sscanf(message, "hello 1 %d %llu", &n, &seed) != 2) return say("!this is for protocol 1"), 1;
    say("spec {\"obs\": {\"vector\": {\"len\": 1}}, \"actions\": {\"discrete\": 2},"
        " \"max_episode_steps\": 100, \"reward_threshold\": -12}");
    if (!hear()) return 0; /* that was all that was to be known */
    if (sscanf(message, "map %zu %zu %zu %zu %zu %zu", &size, &obs_at, &rewards_at, &flags_at, &stats_at, &actions_at) != 6)
        return say("!map was due"), 1;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, MEMORY, 0);
    if (memory == MAP_FAILED) return say("!there is no memory"), 1;
    float *obs = (float *)(memory + obs_at);                  /* [n][1] */
    double *rewards = (double *)(memory + rewards_at);        /* [n] */
    uint8_t *flags = (uint8_t *)(memory + flags_at);          /* [n] */
    double *stats = (double *)(memory + stats_at);            /* [n][2]: return, length */
    const int32_t *actions = (int32_t *)(memory + actions_at); /* [n][1] */
    Env *envs = calloc(n, sizeof *envs);
    for (int e = 0; e < n; e++) envs[e].random = seed + e, obs[e] = reset(&envs[e]);
    while (!say(".") && hear()) {
        int one;
        if (sscanf(message, "r %d", &one) == 1) {
            obs[one] = reset(&envs[one]);
            continue;
        }
        for (int e = 0; e < n; e++) {
            Env *env = &envs[e];
            rewards[e] = 0, flags[e] = RESET;
            if (env->ended) { obs[e] = reset(env); continue; } /* whatever the action is */
            obs[e] = env->position += actions[e] ? 0.1f : -0.1f;
            env->steps++, env->sum += rewards[e] = -1;
            flags[e] = env->position > 1 ? TERMINATED : env->steps >= 100 ? TRUNCATED : 0;
            if ((env->ended = flags[e] != 0)) flags[e] |= EPISODE, stats[2 * e] = env->sum, stats[2 * e + 1] = env->steps;
        }
    }
    return 0;
}
