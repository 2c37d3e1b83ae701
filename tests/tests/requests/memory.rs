//! No core file ever holds a party's memory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use twoply_tests::World;
use twoply_tests::model::PLAIN;

/// Most bytes of a core file, soft and hard.
fn core_limits(id: u32) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = limits.lines().find_map(|l| l.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn a_party_leaves_no_core() {
    let world = World::dealt(PLAIN, 2, 2);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    for party in &pair.procs {
        assert_eq!(core_limits(party.id()), ["0", "0"]);
        // what may not be dumped belongs to root, and so may not be read by others of this user
        let memory = fs::metadata(format!("/proc/{}/mem", party.id())).unwrap();
        assert_eq!(memory.uid(), 0);
    }
    pair.stop();
}
