//! README's recipe for two servers, as it is written there.

use std::fs;
use std::path::Path;
use twoply_nn::data::FORMATS;
use twoply_tests::binary::root;
use twoply_tests::{Proc, SOON, digits};

/// The text of a section.
fn text(section: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rest = readme.split(&format!("\n## {section}\n")).nth(1).expect("the section");
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The commands of a section, in its order: continued lines joined, comments left out.
fn commands(section: &str) -> Vec<String> {
    let section = text(section);
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let text = blocks.collect::<String>().replace("\\\n", " ");
    let bare = text.lines().map(|line| line.split('#').next().unwrap().trim());
    bare.filter(|line| !line.is_empty()).map(String::from).collect()
}

/// The recipe's places and names, for this machine.
struct Real {
    keys: Vec<(&'static str, String)>,
    addresses: Vec<String>,
}

impl Real {
    /// The arguments of a command with everything put in that the README leaves to its reader.
    fn args(&self, command: &str, home: &str) -> Vec<String> {
        let mut line = command.strip_prefix("twoply ").expect("commands of the program alone").to_owned();
        for (name, key) in &self.keys {
            line = line.replace(name, key);
        }
        for (me, address) in self.addresses.iter().enumerate() {
            line = line.replace(&format!("p{me}.example:7700"), address);
        }
        line = line.replace("0.0.0.0:7700", "127.0.0.1:0") + " --home " + home;
        line.split_whitespace().map(String::from).collect()
    }
}

fn run(dir: &Path, args: &[String]) -> String {
    Proc::start_in(dir, &args[0], args).wait(SOON).is(0).out.clone()
}

#[test]
fn the_table_of_data_is_what_the_code_reads() {
    let text = text("Data");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| format |"));
    let want: Vec<String> = FORMATS.iter().map(|(name, what)| format!("| {name} | {what} |")).collect();
    assert_eq!(rows.collect::<Vec<_>>(), want);
}

#[test]
fn the_recipe_for_two_servers_runs_as_written() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("examples"), dir.path().join("examples")).unwrap();
    let mut real = Real { keys: vec![], addresses: vec![] };
    let (mut parties, mut verbs): (Vec<Proc>, Vec<String>) = (vec![], vec![]);
    for command in commands("Two servers") {
        let verb = command.split(' ').nth(1).unwrap().to_owned();
        match verb.as_str() {
            "id" => {
                let names = ["FINGERPRINT_OF_P0", "FINGERPRINT_OF_P1", "FINGERPRINT_OF_DATA_OWNER"];
                for (name, home) in names.into_iter().zip(["p0", "p1", "client"]) {
                    real.keys.push((name, identity(&real, (dir.path(), &command), home)));
                }
                let owner = identity(&real, (dir.path(), &command), "owner");
                real.keys.push(("FINGERPRINT_OF_MODEL_OWNER", owner));
            }
            "party" => {
                let me = parties.len();
                assert!(command.contains(&format!("--role {me} ")), "{command}");
                let party = Proc::start_in(dir.path(), "party", &real.args(&command, &format!("p{me}")));
                let line = party.hear(" listens on ", SOON).expect("a party listens");
                let rest = line.split(" listens on ").nth(1).unwrap();
                real.addresses.push(rest.split(' ').next().unwrap().to_owned());
                parties.push(party);
            }
            "infer" => {
                let said = run(dir.path(), &real.args(&command, "client"));
                let labels: Vec<usize> = said.lines().map(|line| line.parse().expect("a label")).collect();
                let right = labels.iter().zip(&digits().labels).filter(|(a, b)| a == b).count();
                assert!(labels.len() == digits().labels.len() && right + 2 >= labels.len(), "{right} right");
            }
            "doctor" => drop(run(dir.path(), &real.args(&command, "client"))),
            _ => drop(run(dir.path(), &real.args(&command, "owner"))),
        }
        verbs.push(verb);
    }
    let all = ["id", "import", "plan", "deal", "party", "party", "provision", "infer", "doctor"];
    assert_eq!(verbs, all, "the recipe's steps");
    parties.iter().for_each(Proc::terminate);
    for party in parties {
        party.wait(SOON).is(0);
    }
}

/// Makes an identity; its fingerprint.
fn identity(real: &Real, (dir, command): (&Path, &str), home: &str) -> String {
    let said = run(dir, &real.args(command, home));
    said.split_whitespace().find(|word| word.starts_with("tp1-")).expect("a fingerprint").to_owned()
}
