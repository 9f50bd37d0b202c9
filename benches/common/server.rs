//! Servers in processes of their own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Result;

/// A server that is stopped when dropped.
pub struct Server(Child);

impl Server {
    /// Starts an installed program, without its log.
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        let started = Command::new(program).args(arguments).stderr(Stdio::null()).spawn();
        let sorry = |error| format!("{program} cannot be started ({error}); install the package {program}");
        Ok(Self(started.map_err(sorry)?))
    }

    /// Sends it a signal, by the name without SIG.
    pub fn signal(&self, name: &str) -> Result<()> {
        Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM lets nginx stop its workers; SIGKILL would leave them behind.
        let _ = self.signal("TERM");
        let _ = self.0.wait();
    }
}

/// A port that was free when this function looked.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until the server answers.
pub fn wait_for(what: &str, mut answers: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !answers() {
        if begin.elapsed() > Duration::from_secs(10) {
            return Err(format!("{what} does not answer").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
