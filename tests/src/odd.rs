//! A data owner taken apart, to be put together wrongly: each step towards each party by itself.

use crate::world::{Pair, World};
use std::sync::Arc;
use std::time::Duration;
use twoply_nn::{Plan, roles};
use twoply_party::identity::Identity;
use twoply_party::jobs::{Grant, Job, Request};
use twoply_party::transport::{Accept, Dial, Endpoint, Link, Role};
use twoply_primitives::Channel;

/// A data owner with a link to each party.
pub struct Odd {
    /// P0's, P1's; `None` once closed.
    pub links: [Option<Link>; 2],
    plan: Plan,
    _endpoint: Endpoint,
}

impl Odd {
    /// Connects to both as the data owner of `home`.
    pub fn new(world: &World, pair: &Pair, home: &str) -> Odd {
        Odd::with(world.identity(home), Role::Client, world, pair)
    }
    /// Connects to both with any role.
    pub fn with(identity: Arc<Identity>, role: Role, world: &World, pair: &Pair) -> Odd {
        let endpoint = Endpoint::bind(identity, role, None, Accept::nobody()).expect("an endpoint");
        let links = world.place(pair).map(|place| {
            let dial = Dial::new(place.address, place.key).within(Duration::from_secs(30));
            Some(endpoint.connect(&dial).expect("a link"))
        });
        Odd { links, plan: world.plan.clone(), _endpoint: endpoint }
    }
    /// The link to a party.
    pub fn link(&mut self, me: usize) -> &mut Link {
        self.links[me].as_mut().expect("an open link")
    }
    /// A request for `images`, to be told to either party.
    pub fn job(&self, images: u32, name: u8) -> Job {
        Job { id: [name; 16], plan: self.plan.digest().expect("a digest").0, images }
    }
    /// Asks both.
    pub fn ask(&mut self, job: Job) {
        for me in 0..2 {
            self.link(me).send_message(&Request::Infer(job)).expect("sent");
        }
    }
    /// Both parties' grant and keys.
    pub fn granted(&mut self) -> (Grant, [Vec<[u8; 16]>; 2]) {
        let grants = [0, 1].map(|me| self.link(me).recv_message::<Grant>().expect("a grant"));
        assert_eq!(grants[0], grants[1]);
        let bytes = 16 * grants[0].images as usize;
        let keys = [0, 1].map(|me| self.link(me).recv(bytes).expect("keys").as_chunks::<16>().0.to_vec());
        (grants[0], keys)
    }
    /// Masked values of `inputs` in the ring of 32 bits.
    pub fn mask(&self, inputs: &[f32], keys: [&[[u8; 16]]; 2]) -> Vec<u8> {
        let program = self.plan.program().expect("a program");
        let x = program.encode_input::<u32>(inputs).expect("inputs");
        roles::mask_input::<u32>(&program, &x, keys).expect("masked")
    }
    /// Sends masked values to one party.
    pub fn send(&mut self, me: usize, grant: &Grant, packed: &[u8]) {
        self.link(me).send_message(grant).expect("sent");
        self.link(me).send(packed).expect("sent");
    }
    /// Both shares of the answer.
    pub fn shares(&mut self, images: usize) -> [Vec<u8>; 2] {
        let reply = self.plan.program().and_then(|p| p.reply(images)).expect("an output");
        [0, 1].map(|me| self.link(me).recv(reply.bytes()).expect("a share"))
    }
    /// A party's refusal: the next word must be a failure.
    pub fn refused(&mut self, me: usize, within: Duration) -> String {
        let link = self.link(me);
        link.set_patience(within);
        let error = link.recv_message::<Grant>().expect_err("a refusal");
        error.to_string()
    }
}
