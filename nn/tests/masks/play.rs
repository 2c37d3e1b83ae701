//! Dealer, owners and both parties in this process, with seeds that a test chooses and devices that are watched.

use super::notes::Notes;
use super::redirect::Redirect;
use super::watched::Watched;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use twoply_nn::engine::{Clear, Planner};
use twoply_nn::rehearsal::Memory;
use twoply_nn::{Program, Weights, roles};
use twoply_primitives::channel::pair;
use twoply_primitives::session::{Own, Prepared, Setup};
use twoply_primitives::{
    Backend, Channel, Cpu, Deal, KeySetId, KeySink, Mask, Masked, NoClock, Origin, PartyId, Result, Ring,
    Seed, Session, Site,
};

/// A key set and all of its seeds.
#[derive(Clone)]
pub struct Secrets {
    pub set: KeySetId,
    /// Of the weights, and of every segment: the address alone tells them apart, as it must.
    pub seeds: [Seed; 2],
}

impl Secrets {
    pub fn new(entropy: u64) -> Secrets {
        let bytes = |what: u8| {
            *blake3::Hasher::new()
                .update(b"secrets")
                .update(&[what])
                .update(&entropy.to_le_bytes())
                .finalize()
                .as_bytes()
        };
        let set = KeySetId(bytes(2)[..16].try_into().unwrap());
        Secrets { set, seeds: [0, 1].map(|p| Seed::new(bytes(p))) }
    }
    pub fn origin(&self, segment: u32) -> Origin {
        Origin { set: self.set, segment }
    }
}

/// Takes every tile once and keeps none.
#[derive(Default)]
pub struct Gone(HashSet<(Site, usize)>);

impl KeySink for Gone {
    fn put(&mut self, name: &'static str, at: Site, tile: usize, _: [Vec<u8>; 2]) -> Result<()> {
        assert!(self.0.insert((at, tile)), "{name}: {at:?} tile {tile} is dealt twice");
        Ok(())
    }
}

/// Dealer: the weights of a key set, and segment after segment; everything that it expands.
pub fn dealt<D: Backend>(
    dev: &Watched<D>,
    program: &Program,
    s: &Secrets,
    segments: u32,
    images: usize,
) -> Notes {
    let masks = roles::weight_masks(dev, program, s.set, &s.seeds);
    for segment in 0..segments {
        let mut sink = Gone::default();
        let mut deal = Deal::new(dev.clone(), s.seeds.clone(), s.origin(segment), images, &mut sink);
        program.run(&mut deal, &masks, images).unwrap();
    }
    dev.notes.clone()
}

/// A network that was dealt for some images and provisioned.
pub struct Play<'p, R: Ring> {
    program: &'p Program,
    secrets: Secrets,
    redirect: Arc<Redirect>,
    pub dealer: Watched<Cpu<R>>,
    pub parties: [Watched<Cpu<R>>; 2],
    weights: [Vec<Masked<Watched<Cpu<R>>>>; 2],
    clear: Vec<(twoply_primitives::Form, Vec<R>)>,
    keys: Arc<Memory>,
}

impl<'p, R: Ring> Play<'p, R> {
    pub fn new(
        program: &'p Program,
        weights: &Weights,
        images: usize,
        secrets: Secrets,
        redirect: Redirect,
    ) -> Self {
        let redirect = Arc::new(redirect);
        let dev = || Watched::new(Cpu::<R>::new(), redirect.clone());
        let (dealer, parties, s) = (dev(), [dev().seeing(), dev().seeing()], &secrets);
        let masks: Vec<Mask<_>> = roles::weight_masks(&dealer, program, s.set, &s.seeds);
        let keys = [0, 1].map(|p| redirect.keys(&roles::weight_keys(program, s.set, &s.seeds[p])));
        let packed = roles::mask_weights::<R>(program, weights, [&keys[0], &keys[1]]).unwrap();
        let side =
            |p: usize| roles::masked_weights(&parties[p], program, s.set, &s.seeds[p], &packed).unwrap();
        let weights_of = [side(0), side(1)];
        let mut planner = Planner::new(R::BITS);
        program.run(&mut planner, &program.params(), images).unwrap();
        let mut keys = Memory::new(planner.gates.iter().map(|g| &g.cost));
        let mut deal = Deal::new(dealer.clone(), s.seeds.clone(), s.origin(0), images, &mut keys);
        program.run(&mut deal, &masks, images).unwrap();
        let clear = program.params().into_iter().zip(program.encode::<R>(weights).unwrap()).collect();
        Play { program, secrets, redirect, dealer, parties, weights: weights_of, clear, keys: Arc::new(keys) }
    }

    /// Both parties on these images; the answer is that of the oracle, or this panics.
    pub fn run(&self, images: Range<usize>, x: &[R]) {
        let batch = images.len();
        let ((p0, p1), (o0, a0), (o1, a1)) = (pair(), pair(), pair());
        let mut owners = [a0, a1];
        let (answer, coins) = thread::scope(|scope| {
            let images = &images;
            let ends = [(PartyId::P0, p0, o0), (PartyId::P1, p1, o1)];
            let parties = ends
                .map(|(me, peer, owner)| scope.spawn(move || self.party(me, images.clone(), peer, owner)));
            let keys =
                owners.each_mut().map(|o| self.redirect.keys(o.recv(16 * batch).unwrap().as_chunks().0));
            let packed = roles::mask_input(self.program, x, [&keys[0], &keys[1]]).unwrap();
            owners.iter_mut().for_each(|o| o.send(&packed).unwrap());
            let reply = self.program.reply(batch).unwrap();
            let shares = owners.each_mut().map(|o| o.recv(reply.bytes()).unwrap());
            let answer = reply.join::<R>([&shares[0], &shares[1]]).unwrap().swap_remove(0);
            let [_, coins] = parties.map(|p| p.join().unwrap());
            (answer, coins)
        });
        let mut oracle = Clear::with_coins(x.to_vec(), coins);
        self.program.run(&mut oracle, &self.clear, batch).unwrap();
        assert_eq!(answer, oracle.output, "only what a right run shows is worth looking at");
    }

    fn party(
        &self,
        me: PartyId,
        images: Range<usize>,
        mut peer: impl Channel,
        mut owner: impl Channel,
    ) -> Vec<(u32, Vec<u64>)> {
        let p = me.index();
        let session = Session::new(Setup {
            me,
            dev: self.parties[p].clone(),
            seed: self.secrets.seeds[p].clone(),
            origin: self.secrets.origin(0),
            images,
            peer: &mut peer,
            keys: self.keys.half(me),
            clock: Arc::new(NoClock),
        });
        roles::run(self.program, &self.weights[p], session, (&mut owner, Some([0; 16])), true).unwrap().coins
    }

    /// What a party expands while it prepares these images.
    pub fn prepared(&self, me: PartyId, images: Range<usize>) -> Notes {
        let dev = Watched::new(Cpu::<R>::new(), self.redirect.clone());
        self.prepare_on(&dev, me, images, |_, _| true);
        dev.notes
    }

    /// What a party prepares for these images.
    pub fn prepare(&self, me: PartyId, images: Range<usize>) -> Prepared<Watched<Cpu<R>>> {
        let dev = &self.parties[me.index()];
        let mut prepared = Prepared::new(dev.clone(), self.secrets.origin(0));
        prepared.begin(images.clone());
        self.prepare_on(dev, me, images, |gate, result| {
            prepared.put(gate, result);
            true
        });
        prepared
    }

    fn prepare_on(
        &self,
        dev: &Watched<Cpu<R>>,
        me: PartyId,
        images: Range<usize>,
        put: impl FnMut(u32, Vec<R>) -> bool,
    ) {
        let weights = &self.weights[me.index()];
        let keys = self.keys.half(me);
        let own = Own {
            dev,
            me,
            seed: &self.secrets.seeds[me.index()],
            origin: self.secrets.origin(0),
            images,
            keys: keys.as_ref(),
            gate: 0,
        };
        assert!(roles::prepare(self.program, weights, own, put).unwrap());
    }

    /// Both parties' weights under their masks.
    pub fn release(self) -> [Vec<Masked<Watched<Cpu<R>>>>; 2] {
        self.weights
    }
}
