//! What a test knows of a world without asking its parties.

use crate::World;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use twoply_nn::roles;
use twoply_party::identity::Fingerprint;
use twoply_party::jobs::{Grant, Job, JobId};
use twoply_preprocessing::parse_key_set;
use twoply_primitives::{KeySetId, Origin, Seed};

/// Where the public part of a key file says what, and where its seed is.
const SEGMENT_ID: std::ops::Range<usize> = 72..88;
const SEED: std::ops::Range<usize> = 104..136;

/// One piece as its data owner saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What was granted.
    pub grant: Grant,
    /// The masked input that each party was sent, if it was.
    pub inputs: [Vec<u8>; 2],
}

/// A request as its data owner knows it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What was asked for.
    pub job: Job,
    /// By whom.
    pub client: Fingerprint,
    /// What came of it, in order.
    pub pieces: Vec<Seen>,
}

/// A key set, as its files show it.
#[derive(Clone, Debug)]
pub struct Set {
    /// Names of its segments, by number.
    pub segments: Vec<[u8; 16]>,
    /// BLAKE3 of the masked weights.
    pub weights: [u8; 32],
}

/// Public facts, and the secrets that must not be among what is said.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The plan.
    pub plan: twoply_nn::Plan,
    /// Images of every key set, and of its segments.
    pub images: [u64; 2],
    /// Key sets by name.
    pub sets: BTreeMap<KeySetId, Set>,
    /// Requests by name.
    pub jobs: HashMap<JobId, Asked>,
    /// Seeds of segments and of weight masks, and owners' keys of both parties.
    pub secrets: Vec<Vec<u8>>,
}

impl Facts {
    /// Reads the key folders of a world whose key sets have `images` each in segments of so many; to be called before
    /// anything of them is used up.
    pub fn read(world: &World, images: [u64; 2]) -> Facts {
        let (plan, jobs) = (world.plan.clone(), HashMap::new());
        let mut facts = Facts { plan, images, sets: BTreeMap::new(), jobs, secrets: vec![] };
        for me in 0..2 {
            let root = world.path(&format!("keys/p{me}"));
            for entry in fs::read_dir(root).expect("keys").flatten() {
                if let Some(id) = entry.file_name().to_str().and_then(parse_key_set) {
                    facts.read_set(id, &entry.path());
                }
            }
        }
        facts
    }
    fn read_set(&mut self, id: KeySetId, folder: &Path) {
        let program = self.plan.program().expect("a program");
        let [images, segment_images] = self.images;
        let mut segments = vec![];
        for segment in 0..images.div_ceil(segment_images) as u32 {
            let file = fs::read(folder.join(format!("seg-{segment:05}.key"))).expect("a segment");
            segments.push(file[SEGMENT_ID].try_into().expect("16 bytes"));
            let seed = self.secret(&file);
            let origin = Origin { set: id, segment };
            for key in roles::input_keys(&seed, origin, 0..segment_images as u32) {
                self.secrets.push(key.to_vec());
            }
        }
        let seed = self.secret(&fs::read(folder.join("set.key")).expect("a set file"));
        let keys = roles::weight_keys(&program, id, &seed);
        self.secrets.extend(keys.iter().map(|key| key.to_vec()));
        let set = self.sets.entry(id).or_insert(Set { segments: segments.clone(), weights: [0; 32] });
        assert_eq!(set.segments, segments, "both halves have the same names");
    }
    fn secret(&mut self, file: &[u8]) -> Seed {
        let seed: [u8; 32] = file[SEED].try_into().expect("32 bytes");
        self.secrets.push(seed.to_vec());
        Seed::new(seed)
    }
    /// Takes the digests of the masked weights, which both parties have by now.
    pub fn provisioned(&mut self, world: &World) {
        for (id, set) in &mut self.sets {
            let read =
                |me| fs::read(world.path(&format!("keys/p{me}/{id}/weights.masked"))).expect("weights");
            let both = [0, 1].map(read);
            assert_eq!(both[0], both[1], "both parties hold the same masked weights");
            set.weights = *blake3::hash(&both[0]).as_bytes();
        }
    }
    /// The name of the segment of an image.
    pub fn half(&self, set: KeySetId, image: u64) -> [u8; 16] {
        self.sets[&set].segments[(image / self.images[1]) as usize]
    }
}
