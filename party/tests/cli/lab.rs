//! A folder to work in, and the binary.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A working folder with a home of its own.
pub struct Lab(TempDir);

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(out: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: out.status.code().unwrap_or(-1), stdout: text(out.stdout), stderr: text(out.stderr) }
    }
}

impl Said {
    /// The JSON failure on standard error.
    pub fn failure(&self) -> Value {
        let line = self.stderr.lines().find(|line| line.starts_with('{'));
        serde_json::from_str(line.unwrap_or_else(|| panic!("no JSON in {}", self.stderr))).unwrap()
    }
}

impl Lab {
    pub fn new() -> Lab {
        Lab(TempDir::new().unwrap())
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The binary, to be run in the folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twoply"));
        command.args(args);
        self.in_here(&mut command);
        command
    }
    /// Sets folder and environment of a command.
    pub fn in_here(&self, command: &mut Command) {
        let ours = std::env::vars_os().map(|(name, _)| name);
        let ours = ours.filter(|name| name.to_string_lossy().starts_with("TWOPLY_"));
        ours.for_each(|name| _ = command.env_remove(name));
        command.current_dir(self.0.path()).env("TWOPLY_HOME", "home").env("RUST_BACKTRACE", "0");
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }
    /// Runs what must succeed.
    pub fn ok(&self, args: &[&str]) -> Said {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}\n{}\n{}", said.stdout, said.stderr);
        said
    }
    /// Runs what must succeed, for its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let said = self.ok(&[args, &["--format", "json"]].concat());
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e} in {}", said.stdout))
    }
    /// Runs what must fail with this code; returns its cause.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let said = self.run(&[args, &["--format", "json"]].concat());
        assert_eq!((said.code, said.stdout.as_str()), (code, ""), "{args:?}\n{}", said.stderr);
        let failure = said.failure();
        assert_eq!(failure["code"], code);
        assert!(!failure["remedy"].as_str().unwrap().is_empty());
        failure["what"].as_str().unwrap().to_owned()
    }

    /// Imports the digits network.
    pub fn import(&self) {
        let normalise = ["--scale", "1/16", "--mean", "0.3125", "--std", "0.5"];
        self.ok(&[&["import", &digits("digits.onnx")][..], &normalise].concat());
    }
    /// Imports and plans the digits network: `digits.plan.json`.
    pub fn plan(&self) {
        self.import();
        self.ok(&[
            "plan",
            "digits.graph.json",
            "--weights",
            WEIGHTS,
            "--samples",
            &digits("calibration-images.idx"),
        ]);
    }
}

/// The private half of the digits network.
pub const WEIGHTS: &str = "digits.weights.safetensors";

/// A file of the digits example.
pub fn digits(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    folder.join(name).to_str().unwrap().to_owned()
}
