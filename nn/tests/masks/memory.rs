//! What a party overwrites before it lets go of it: its shares of the weights' masks, and what it prepared for no run.

use super::networks::dense;
use super::play::{Play, Secrets};
use super::redirect::Redirect;
use std::sync::atomic::Ordering;
use twoply_nn::roles::Provisioned;
use twoply_nn::{Options, Plan};
use twoply_primitives::{Form, PartyId};

#[test]
fn what_a_party_lets_go_of_is_overwritten() {
    let model = dense();
    let plan = Plan::new(model.graph.clone(), Options::default(), Some(model.ranges())).unwrap();
    let program = plan.program().unwrap();
    let play = Play::<u32>::new(&program, &model.weights, 4, Secrets::new(1), Redirect::default());
    let dev = play.parties[0].clone();
    let wiped = || dev.wiped.swap(0, Ordering::Relaxed);

    let prepared = play.prepare(PartyId::P0, 0..4);
    let elements = prepared.elements();
    assert!(elements > 0);
    drop(prepared);
    assert_eq!(wiped(), elements, "prepared");

    // a run computes P0's additive shares of some weights, which go too
    play.run(0..4, &vec![0; 4 * model.graph.input.row()]);
    let shares: usize = program.params().iter().map(Form::len).sum();
    let [weights, _] = play.release();
    wiped();
    drop(Provisioned::new(dev.clone(), weights));
    let additive = wiped() - shares;
    assert!(additive > 0 && additive <= shares, "{additive} of {shares}");
}
