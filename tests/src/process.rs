//! A process of the program: what it says is kept, waiting for it has a deadline, and it does not outlive its test.

use crate::binary::twoply;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running process.
pub struct Proc {
    name: String,
    child: Child,
    out: Option<JoinHandle<(String, Vec<Instant>)>>,
    err: Option<JoinHandle<String>>,
    lines: Receiver<String>,
}

/// What a process is started under.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// A variable of its environment.
    pub variable: Option<(&'static str, String)>,
    /// The most blocks of 1,024 bytes that a file of it may have.
    pub blocks: Option<u64>,
}

/// How a process ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// When each line of standard output came.
    pub told: Vec<Instant>,
}

impl Proc {
    /// Starts `twoply` with these arguments and nothing of the environment's `TWOPLY_*`.
    pub fn start<S: AsRef<OsStr>>(name: &str, args: &[S]) -> Proc {
        Proc::start_in(Path::new("."), name, args)
    }

    /// The same in a folder.
    pub fn start_in<S: AsRef<OsStr>>(folder: &Path, name: &str, args: &[S]) -> Proc {
        Proc::start_under(Terms::default(), folder, name, args)
    }

    /// The same under terms that no user would choose.
    pub fn start_under<S: AsRef<OsStr>>(terms: Terms, folder: &Path, name: &str, args: &[S]) -> Proc {
        let mut command = match terms.blocks {
            None => Command::new(twoply()),
            // a write beyond the limit fails; without `trap` it would end the process
            Some(blocks) => {
                let mut shell = Command::new("bash");
                let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
                shell.arg("-c").arg(script).arg(twoply());
                shell
            }
        };
        for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("TWOPLY_")) {
            command.env_remove(key);
        }
        command.envs(terms.variable);
        command
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (tell, lines) = channel();
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let out = std::thread::spawn(move || {
            let (mut text, mut told) = (String::new(), vec![]);
            for line in BufReader::new(stdout).lines() {
                text.push_str(&line.expect("output is text"));
                text.push('\n');
                told.push(Instant::now());
            }
            (text, told)
        });
        let err = std::thread::spawn(move || {
            let mut all = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                all.push_str(&line);
                all.push('\n');
                let _ = tell.send(line); // nobody may listen any more
            }
            all
        });
        Proc { name: name.into(), child, out: Some(out), err: Some(err), lines }
    }

    /// Waits until it says a line with `text` on standard error; `None` if it ends before.
    pub fn hear(&self, text: &str, within: Duration) -> Option<String> {
        let until = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Some(line),
                Ok(_) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(e) => panic!("{} did not say `{text}`: {e}", self.name),
            }
        }
    }

    /// Waits for its end; a process that is still there after `within` fails the test, with all it said.
    pub fn wait(mut self, within: Duration) -> Ended {
        let until = Instant::now() + within;
        let status = loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => break Some(status),
                None if Instant::now() >= until => break None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let ended = self.finish();
        if status.is_none() {
            panic!("{} still runs after {within:?}; it said:\n{}", self.name, ended.err)
        }
        assert!(!ended.err.contains("a mistake in twoply"), "{}: {}", self.name, ended.err);
        ended
    }

    /// How it ended, or that it was killed after `within` (then without an exit code). Judges nothing.
    pub fn finish_within(&mut self, within: Duration) -> Ended {
        let until = Instant::now() + within;
        while self.runs() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.finish()
    }

    /// How it ended, if it has; otherwise it is killed first. Judges nothing.
    pub fn finish(&mut self) -> Ended {
        let _ = self.child.kill(); // it may have ended by itself
        let code = self.child.wait().ok().and_then(|status| status.code());
        let (out, told) = self.out.take().map(|t| t.join().expect("it reads")).unwrap_or_default();
        let err = self.err.take().map(|t| t.join().expect("it reads")).unwrap_or_default();
        Ended { code, out, err, told }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal, by name: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let (flag, id) = (format!("-{name}"), self.child.id().to_string());
        let sent = Command::new("kill").args([&flag, &id]).stderr(Stdio::null()).status();
        assert!(sent.is_ok(), "there is no `kill`");
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has said a line with `text` on standard error; does not wait, and forgets the lines before.
    pub fn has_said(&self, text: &str) -> bool {
        self.lines.try_iter().any(|line| line.contains(text))
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Proc {
    /// Ends it; in a test that fails, shows what it had said.
    fn drop(&mut self) {
        self.kill();
        if let Some(err) = self.err.take()
            && std::thread::panicking()
        {
            eprintln!("{} had said:\n{}", self.name, err.join().unwrap_or_default());
        }
    }
}

impl Ended {
    /// Its JSON result, after success.
    pub fn json(&self) -> serde_json::Value {
        self.is(0);
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
    /// It ended with this code, and a failure names cause and remedy.
    pub fn is(&self, code: i32) -> &Self {
        self.is_one_of(&[code])
    }
    /// It ended with one of these codes, and a failure names cause and remedy.
    pub fn is_one_of(&self, codes: &[i32]) -> &Self {
        let code = self.code.unwrap_or(-1);
        assert!(codes.contains(&code), "exit {code}, wanted {codes:?}:\n{}\n{}", self.out, self.err);
        if code > 2 {
            for part in ["error: ", "\n  remedy: ", &format!("\n  exit {code}: ")] {
                assert!(self.err.contains(part), "no {part:?} in:\n{}", self.err);
            }
        }
        self
    }
    /// Its messages say all of this.
    pub fn says(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in:\n{}", self.err);
        }
        self
    }
}
