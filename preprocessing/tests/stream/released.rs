//! Segments that a dealer's ledger has released, for tests of what then leaves.

use twoply_preprocessing::PlanDigest;
use twoply_preprocessing::run::*;
use twoply_primitives::KeySetId;

/// The first `count` segments of an attempt with keys of this name.
pub fn released(set: KeySetId, count: u32) -> Vec<Released> {
    let spec = RunSpec {
        run: RunId([1; 16]),
        plan: PlanDigest([2; 32]),
        order: [3; 32],
        sets: vec![],
        schedule: Schedule { steps: 1, every: 1 },
        lengths: Lengths::new(0, 0, 0).unwrap(),
    };
    let (root, start) = (tempfile::tempdir().unwrap(), CheckpointId::START);
    DealerRun::create(root.path(), &spec, start, &Masks::default()).unwrap();
    let ask = Ask { run: spec.run, terms: spec.shared_hash(), highest: 0, from: start };
    let mut run = DealerRun::open(root.path(), spec).unwrap();
    let mut dealing = run.offer([&ask; 2], set).unwrap().credited(&FirstCredit { set }).unwrap();
    let release = |_| {
        let segment = dealing.begin(SegmentKind::Evaluate).unwrap();
        dealing.release(segment, None).unwrap()
    };
    (0..count).map(release).collect()
}
