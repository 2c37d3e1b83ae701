//! Every mask and every stored word has a piece of a stream of its own: over whole programs, noted where they are expanded.

use super::hollow::Hollow;
use super::networks;
use super::notes::Notes;
use super::play::{Play, Secrets, dealt};
use super::redirect::Redirect;
use super::watched::Watched;
use std::sync::Arc;
use twoply_nn::{Program, Reveal, with_ring, zoo};
use twoply_primitives::{Backend, Cpu, PartyId};

fn watched<D: Backend>(dev: D) -> Watched<D> {
    Watched::new(dev, Arc::new(Redirect::default()))
}

/// The weights, and two segments dealt from the same seeds.
#[test]
fn no_network_of_the_zoo_expands_anything_twice() {
    for entry in &zoo::ALL {
        let graph = networks::zoo(entry).graph;
        let ranges = vec![1.0; graph.nodes.len()];
        for options in networks::options(&[Reveal::Label]) {
            let program = Program::new(&graph, &options, &ranges).unwrap();
            let dealt = |segments| {
                with_ring!(options.fixed.n, R => {
                    dealt(&watched(Hollow::<R>::default()), &program, &Secrets::new(1), segments, 1)
                })
            };
            // the largest ones deal as many tiles in one segment as the others in two
            let notes = dealt(if entry.input[1] < 64 { 2 } else { 1 });
            notes.once(&format!("{} {options:?}", entry.name));
        }
    }
}

/// Small networks of all operations: the dealer, both parties over runs of a segment, and what they prepare. A party expands
/// nothing that was not dealt, and nothing twice.
#[test]
fn neither_dealer_nor_party_expands_anything_twice() {
    for model in networks::all() {
        for options in networks::options(&[Reveal::Logits, Reveal::Label]) {
            if model.graph.name == "clipped" && options.reveal == Reveal::Logits {
                continue; // it ends in an argmax
            }
            let (program, at) =
                (networks::program(&model, &options), format!("{} {options:?}", model.graph.name));
            with_ring!(options.fixed.n, R => {
                let x = program.encode_input::<R>(&model.inputs.repeat(2)).unwrap();
                let row = x.len() / 2;
                let play = Play::<R>::new(&program, &model.weights, 4, Secrets::new(2), Redirect::default());
                play.run(0..1, &x[..row]);
                play.run(1..3, &x);
                play.run(3..4, &x[..row]);
                play.dealer.notes.once(&format!("dealer, {at}"));
                for me in PartyId::BOTH {
                    let notes = &play.parties[me.index()].notes;
                    match options.audit {
                        true => notes.once_but_for_points(2, &format!("{me}, {at}")),
                        false => notes.once(&format!("{me}, {at}")),
                    }
                    notes.within(&play.dealer.notes, &format!("{me}, {at}"));
                    let early = play.prepared(me, 0..4);
                    early.once(&format!("{me} before a run, {at}"));
                    early.within(&play.dealer.notes, &format!("{me} before a run, {at}"));
                }
            });
        }
    }
}

/// What is noted does not depend on who computes: the hollow device stands for a real one.
#[test]
fn the_hollow_device_is_asked_for_the_same() {
    let pieces = |notes: Notes| notes.sorted();
    for model in networks::all() {
        for options in networks::options(&[Reveal::Label]) {
            let program = networks::program(&model, &options);
            with_ring!(options.fixed.n, R => {
                let (hollow, real) = (watched(Hollow::<R>::default()), watched(Cpu::<R>::new()));
                let secrets = Secrets::new(3);
                let hollow = pieces(dealt(&hollow, &program, &secrets, 1, 3));
                assert!(hollow == pieces(dealt(&real, &program, &secrets, 1, 3)), "{options:?}");
            });
        }
    }
}
