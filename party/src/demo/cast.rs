//! Processes of the demo: started, listened to, ended.

use crate::exit::{ExitCode, Failure};
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a party may take to open its port.
const START: Duration = Duration::from_secs(30);

/// This program, and what to do with the words of its processes.
pub struct Stage {
    exe: PathBuf,
    say: fn(&str, &str),
}

/// A running party.
pub struct Actor {
    name: String,
    /// Where it listens.
    pub address: String,
    child: Child,
    words: JoinHandle<Vec<String>>,
}

/// A process, all it says in the end, and its lines as they come.
type Started = (Child, JoinHandle<Vec<String>>, Receiver<String>);

impl Stage {
    /// Runs this program itself; `say` is given who speaks, and a line.
    ///
    /// # Errors
    /// 16 when the system does not tell where this program is.
    pub fn new(say: fn(&str, &str)) -> Result<Self, Failure> {
        let exe = std::env::current_exe().map_err(|e| Failure::io("find", "this program", &e))?;
        Ok(Stage { exe, say })
    }

    fn spawn<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<Started, Failure> {
        let mut command = Command::new(&self.exe);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| Failure::io("start", name, &e))?;
        let (heard, lines) = channel();
        let (stderr, say, who) = (child.stderr.take(), self.say, name.to_owned());
        let words = std::thread::spawn(move || {
            let mut all = vec![];
            for line in stderr.into_iter().flat_map(|s| BufReader::new(s).lines()).map_while(Result::ok) {
                say(&who, &line);
                let _ = heard.send(line.clone()); // nobody listens after the start
                all.push(line);
            }
            all
        });
        Ok((child, words, lines))
    }

    /// Runs one verb to its end; its standard output.
    ///
    /// # Errors
    /// The verb's own failure, with its exit code.
    pub fn act<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<String, Failure> {
        let (child, words, _) = self.spawn(name, args)?;
        finish(name, child, words)
    }
    /// Runs one verb to its end; its JSON result.
    ///
    /// # Errors
    /// As [`Stage::act`].
    pub fn json<T: DeserializeOwned>(&self, name: &str, args: &[impl AsRef<OsStr>]) -> Result<T, Failure> {
        let args: Vec<&OsStr> =
            args.iter().map(AsRef::as_ref).chain(["--format", "json"].map(OsStr::new)).collect();
        parse(name, &self.act(name, &args)?)
    }
    /// Starts a process that ends by itself.
    ///
    /// # Errors
    /// 16 when the system refuses.
    pub fn actor<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<Actor, Failure> {
        let (child, words, _) = self.spawn(name, args)?;
        Ok(Actor { name: name.into(), address: String::new(), child, words })
    }
    /// Starts a party and waits until it listens.
    ///
    /// # Errors
    /// The party's own failure, with its exit code.
    pub fn party(&self, name: &str, args: &[&str]) -> Result<Actor, Failure> {
        let (child, words, lines) = self.spawn(name, args)?;
        let mut actor = Actor { name: name.into(), address: String::new(), child, words };
        while let Ok(line) = lines.recv_timeout(START) {
            if let Some(rest) = line.split(" listens on ").nth(1)
                && let Some(address) = rest.split(' ').next()
            {
                actor.address = address.into();
                return Ok(actor);
            }
        }
        Err(actor.finish::<serde_json::Value>().err().unwrap_or_else(|| silent(name)))
    }
}

impl Actor {
    /// Asks the party to stop; its JSON report.
    ///
    /// # Errors
    /// The party's own failure, with its exit code.
    pub fn finish<T: DeserializeOwned>(self) -> Result<T, Failure> {
        terminate(&self.child);
        self.result()
    }
    /// Waits until the process ends by itself; its JSON report.
    ///
    /// # Errors
    /// As [`Actor::finish`].
    pub fn result<T: DeserializeOwned>(mut self) -> Result<T, Failure> {
        let words = std::mem::replace(&mut self.words, std::thread::spawn(Vec::new));
        let text = wait(&self.name, &mut self.child, words)?;
        parse(&self.name, &text)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Dead already unless the play broke off.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn terminate(child: &Child) {
    // Gone already if it failed: then waiting tells why.
    let _ =
        rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
}

fn silent(name: &str) -> Failure {
    Failure::new(ExitCode::Unreachable, format!("{name} did not open its port within {} s", START.as_secs()))
}

fn finish(name: &str, mut child: Child, words: JoinHandle<Vec<String>>) -> Result<String, Failure> {
    wait(name, &mut child, words)
}

fn wait(name: &str, child: &mut Child, words: JoinHandle<Vec<String>>) -> Result<String, Failure> {
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut text).map_err(|e| Failure::io("read from", name, &e))?;
    }
    let status = child.wait().map_err(|e| Failure::io("wait for", name, &e))?;
    let words = words.join().unwrap_or_default();
    if status.success() {
        return Ok(text);
    }
    let code = status.code().and_then(|c| ExitCode::from_number(c as u16)).unwrap_or(ExitCode::Internal);
    let cause =
        words.iter().rev().find_map(|w| w.strip_prefix("error: ")).unwrap_or("see its messages above");
    Err(Failure::new(code, format!("{name} failed: {cause}")))
}

fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|e| Failure::new(ExitCode::Internal, format!("{name} gave no result that can be read: {e}")))
}
