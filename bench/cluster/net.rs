//! Two network namespaces with a wire between them: two machines, as far as a network can tell.
//!
//! Owns their names, addresses and end. Needs root and the programs `ip` and `unshare`. Used by
//! the benchmark and by the tests of several ranks.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// The wire's end in each namespace.
pub const DEVICE: &str = "wire";

/// Both, until they are dropped.
pub struct Namespaces {
    /// As `ip netns` knows them; also what each takes for its host's name.
    pub names: [String; 2],
    /// Holds the script by which mpirun reaches the other one.
    folder: PathBuf,
}

impl Namespaces {
    /// Makes them; `folder` takes a script.
    ///
    /// # Errors
    /// What the system refuses, as where this is not root.
    pub fn new(folder: &Path) -> io::Result<Self> {
        static N_MADE: AtomicU32 = AtomicU32::new(0);
        let n_made = N_MADE.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("impala-{}-{n_made}-{end}", std::process::id());
        let net = Namespaces { names: [name("a"), name("b")], folder: folder.to_owned() };
        let [a, b] = &net.names;
        for name in &net.names {
            // What a killed run of the same number may have left.
            let _ = command(&format!("ip netns del {name}")).output();
            run(&format!("ip netns add {name}"))?;
            run(&format!("ip -n {name} link set lo up"))?;
        }
        run(&format!("ip link add {DEVICE} netns {a} type veth peer name {DEVICE} netns {b}"))?;
        for (name, address) in net.names.iter().zip(Namespaces::ADDRESSES) {
            run(&format!("ip -n {name} address add {address}/24 dev {DEVICE}"))?;
            run(&format!("ip -n {name} link set {DEVICE} up"))?;
        }
        let agent = format!(
            "#!/bin/sh\nshift\nexec ip netns exec {b} unshare --uts sh -c 'hostname {b}; eval \"$*\"' sh \"$@\"\n"
        );
        std::fs::write(net.agent(), agent)?;
        run(&format!("chmod +x {}", net.agent().display()))?;
        Ok(net)
    }

    /// Their addresses.
    pub const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

    /// An mpirun with a rank in each, whose processes exchange by TCP over the wire.
    pub fn mpirun(&self) -> Command {
        let [a, _] = &self.names;
        let mut mpirun = command(&format!("ip netns exec {a} unshare --uts sh -c"));
        mpirun.arg(format!("hostname {a}; exec mpirun \"$@\"")).arg("mpirun");
        mpirun.args(["-n", "2", "--map-by", "node", "--host"]).arg(Namespaces::ADDRESSES.join(","));
        mpirun.args(["--mca", "plm_rsh_agent"]).arg(self.agent());
        for (what, which) in
            [("btl", "self,tcp"), ("btl_tcp_if_include", DEVICE), ("oob_tcp_if_include", DEVICE)]
        {
            mpirun.args(["--mca", what, which]);
        }
        mpirun
    }

    fn agent(&self) -> PathBuf {
        self.folder.join("agent.sh")
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            // With its last process and its name a namespace is gone, and the wire with it.
            let _ = command(&format!("ip netns del {name}")).output();
        }
    }
}

fn command(words: &str) -> Command {
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().expect("a command has a name"));
    command.args(words);
    command
}

fn run(words: &str) -> io::Result<()> {
    let Output { status, stderr, .. } = command(words).output()?;
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{words}: {}", String::from_utf8_lossy(&stderr).trim())))
}
