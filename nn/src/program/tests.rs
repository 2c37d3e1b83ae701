//! Which gates a graph becomes, and what is refused.

use super::*;
use crate::engine::{Engine, Planner};
use crate::graph::{Input, Node, Normalise, Param, Role};
use crate::{Weights, plan::Options};
use twoply_primitives::{Fixed, Window, ring};

/// Nodes n0, n1, ... on an input of `[2, 4, 4]`; weights 0 and 1 are 1x1 kernels of 2 to 2 channels, weight 2 is `[3, 32]`.
fn graph(nodes: Vec<(Op, Vec<Source>)>) -> Graph {
    let param =
        |name: &str, shape: &[usize]| Param { name: name.into(), shape: shape.to_vec(), role: Role::Weight };
    let node = |(i, (op, inputs)): (usize, (Op, Vec<Source>))| {
        let before = if i == 0 { Source::Input } else { Source::Node(i - 1) };
        Node { name: format!("n{i}"), op, inputs: if inputs.is_empty() { vec![before] } else { inputs } }
    };
    let mut g = Graph {
        name: "g".into(),
        input: Input {
            name: "x".into(),
            shape: vec![2, 4, 4],
            normalise: Normalise::default(),
            layout: Default::default(),
        },
        params: vec![param("k", &[2, 2, 1, 1]), param("l", &[2, 2, 1, 1]), param("w", &[3, 32])],
        nodes: nodes.into_iter().enumerate().map(node).collect(),
    };
    crate::passes::drop_dead(&mut g, &mut Weights(vec![vec![]; 3]));
    g
}
fn conv(weight: usize) -> (Op, Vec<Source>) {
    (Op::Conv2d { weight, bias: None, window: Window::square(1, 1), groups: 1 }, vec![])
}
fn flat() -> (Op, Vec<Source>) {
    (Op::Reshape(vec![32]), vec![])
}
fn linear() -> (Op, Vec<Source>) {
    (Op::Linear { weight: 2, bias: None }, vec![])
}
fn relu() -> (Op, Vec<Source>) {
    (Op::Relu, vec![])
}
fn add(a: usize, b: usize) -> (Op, Vec<Source>) {
    (Op::Add, vec![Source::Node(a), Source::Node(b)])
}

fn options(rounding: Rounding, reveal: Reveal) -> Options {
    Options { rounding, reveal, ..Options::default() }
}
fn program(nodes: Vec<(Op, Vec<Source>)>, rounding: Rounding, reveal: Reveal) -> Result<Program> {
    Program::new(&graph(nodes), &options(rounding, reveal), &[])
}
/// Names of the gates behind the input, with the width of each result.
fn gates(p: &Program) -> Vec<(String, u32)> {
    let mut planner = Planner::new(32);
    p.run(&mut planner, &p.params(), 2).unwrap();
    planner.gates.into_iter().skip(1).map(|g| (g.gate, g.output.bits)).collect()
}
fn named(p: &Program) -> String {
    gates(p).iter().map(|(g, bits)| format!("{g} {bits}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_product_is_cut_unless_only_the_owner_reads_it() {
    let net = || vec![conv(0), relu(), flat(), linear()];
    let coin = program(net(), Rounding::PublicCoin, Reveal::Logits).unwrap();
    assert_eq!(named(&coin), "conv2d 20, relu 32, linear 32");
    assert_eq!(coin.output(2).unwrap(), (Form::new([2, 3], 32), 24));
    let floor = program(net(), Rounding::Floor, Reveal::Logits).unwrap();
    assert_eq!(named(&floor), "conv2d 32, relu-floor 32, linear 32");
    let label = program(net(), Rounding::PublicCoin, Reveal::Label).unwrap();
    assert_eq!(named(&label), "conv2d 20, relu 32, linear 32, argmax 2");
    assert_eq!(label.output(1).unwrap(), (Form::new([1, 1], 2), 0));
    // through reshapes the product stays whole; read by a sum as well, it does not
    let whole = program(vec![conv(0), flat()], Rounding::PublicCoin, Reveal::Logits).unwrap();
    assert_eq!((named(&whole), whole.output(1).unwrap().1), ("conv2d 32, deliver 32".into(), 24));
    let shared = vec![conv(0), (Op::Relu, vec![Source::Node(0)]), add(1, 0)];
    let shared = program(shared, Rounding::PublicCoin, Reveal::Logits).unwrap();
    assert_eq!((named(&shared), shared.output(1).unwrap().1), ("conv2d 20, relu 32, deliver 20".into(), 12));
}

#[test]
fn narrow_wires_are_lifted_and_fine_ones_truncated_where_products_want_it() {
    let twice = |r| program(vec![conv(0), conv(1)], r, Reveal::Logits).unwrap();
    assert_eq!(named(&twice(Rounding::PublicCoin)), "conv2d 20, lift 32, conv2d 32");
    assert_eq!(named(&twice(Rounding::Floor)), "conv2d 32, truncate 32, conv2d 32");
    // a final argmax in the graph takes the product as it is
    let label = vec![flat(), linear(), (Op::Argmax, vec![])];
    for r in [Rounding::PublicCoin, Rounding::Floor] {
        let p = program(label.clone(), r, Reveal::Label).unwrap();
        assert_eq!((named(&p), p.output(1).unwrap().1), ("linear 32, argmax 2".into(), 0));
    }
}

/// In floor mode every product has 2f fraction bits, whatever reads it; the owner must be told so.
#[test]
fn repro_fraction_bits_of_outputs_behind_floor_products() {
    let one = || (Op::MaxPool(Window::square(1, 1)), vec![]);
    let pool = || (Op::MaxPool(Window::square(2, 2)), vec![]);
    let skip = || (Op::Add, vec![Source::Node(0), Source::Input]);
    for (nodes, coin, floor) in [
        (vec![conv(0), conv(1), add(0, 1)], 12, 24),
        (vec![conv(0), skip()], 12, 24),
        (vec![conv(0), skip(), flat()], 12, 24),
        (vec![conv(0), pool()], 12, 24),
        (vec![conv(0), one()], 12, 24),
        (vec![conv(0), relu()], 12, 12),
        (vec![conv(0), relu(), add(1, 1)], 12, 12),
        (vec![flat()], 12, 12),
    ] {
        let frac = |r| program(nodes.clone(), r, Reveal::Logits).unwrap().output(1).unwrap().1;
        assert_eq!((frac(Rounding::PublicCoin), frac(Rounding::Floor)), (coin, floor), "{nodes:?}");
    }
}

#[test]
fn a_wire_may_be_read_twice_by_one_node_and_by_several() {
    let input = || (Op::Add, vec![Source::Input, Source::Input]);
    let p = program(
        vec![input(), add(0, 0), add(1, 0), (Op::Add, vec![Source::Input, Source::Node(2)])],
        Rounding::PublicCoin,
        Reveal::Logits,
    )
    .unwrap();
    let mut clear = crate::engine::Clear::new(vec![3u32; 32]);
    p.run(&mut clear, &[], 1).unwrap();
    // 2x, 4x, 6x, 7x
    assert_eq!(clear.output, [21; 32]);
}

fn mul(a: usize, b: usize) -> (Op, Vec<Source>) {
    (Op::Mul, vec![Source::Node(a), Source::Node(b)])
}

#[test]
fn products_of_wires_want_both_at_n_bits_and_f_and_squares_bring_theirs_there_once() {
    let input = || (Op::Mul, vec![Source::Input, Source::Input]);
    let nets = |r| {
        let net = |nodes: &[(Op, Vec<Source>)]| named(&program(nodes.to_vec(), r, Reveal::Logits).unwrap());
        [
            net(&[conv(0), relu(), mul(0, 1)]),
            net(&[conv(0), mul(0, 0), relu()]),
            net(&[input(), flat(), linear()]),
        ]
    };
    assert_eq!(
        nets(Rounding::PublicCoin),
        [
            "conv2d 20, relu 32, lift 32, mul 32",
            "conv2d 20, lift 32, mul 20, relu 32",
            "mul 20, lift 32, linear 32"
        ]
    );
    assert_eq!(
        nets(Rounding::Floor),
        [
            "conv2d 32, relu-floor 32, truncate 32, mul 32",
            "conv2d 32, truncate 32, mul 32, relu-floor 32",
            "mul 32, truncate 32, linear 32"
        ]
    );
    let p = |r| program(vec![conv(0), relu(), mul(0, 1), flat()], r, Reveal::Logits).unwrap();
    assert_eq!([p(Rounding::PublicCoin), p(Rounding::Floor)].map(|p| p.output(1).unwrap().1), [24, 24]);
}

/// Whole factors keep width and fraction; others make 2f of it, exactly. Addends are private or public, and free.
#[test]
fn addends_and_factors_are_local() {
    let affine = |scale, shift| (Op::Affine { scale, shift }, vec![]);
    let of = |nodes: &[(Op, Vec<Source>)]| {
        let mut g = graph(nodes.to_vec());
        g.params.iter_mut().for_each(|p| p.shape = vec![2, 4, 4]);
        let p = Program::new(&g, &options(Rounding::PublicCoin, Reveal::Logits), &[]).unwrap();
        let mut clear = crate::engine::Clear::new(vec![3u32 << 12; 32]);
        let params: Vec<_> = p.params().into_iter().map(|f| (f.clone(), vec![5u32 << 12; f.len()])).collect();
        p.run(&mut clear, &params, 1).unwrap();
        let (form, frac) = p.output(1).unwrap();
        (named(&p), frac, ring::sign_extend(clear.output[0].low(), form.bits))
    };
    assert_eq!(of(&[affine(-2.0, 0.5)]), ("deliver 32".into(), 12, -(11 << 11)));
    assert_eq!(of(&[affine(0.75, -1.0)]), ("deliver 32".into(), 24, 5 << 22));
    // 683 / 4096 is 1/6 to twelve bits
    assert_eq!(of(&[affine(1.0 / 6.0, 0.0)]), ("deliver 32".into(), 24, (3 << 12) * 683));
    assert_eq!(of(&[affine(-2.0, 0.5), affine(0.5, 0.0)]).2, -(11 << 22));
    assert_eq!(of(&[(Op::SumPool(Window::square(2, 2)), vec![])]), ("deliver 32".into(), 12, 12 << 12));
    let offset = || (Op::Offset { weight: 2 }, vec![]);
    assert_eq!(of(&[offset()]), ("deliver 32".into(), 12, 8 << 12));
    assert_eq!(of(&[affine(0.5, 0.0), offset()]), ("deliver 32".into(), 24, 13 << 23));
}

#[test]
fn numbers_without_a_place_in_the_ring_are_refused_by_name() {
    let why = |scale, shift| {
        let nodes = vec![(Op::Affine { scale, shift }, vec![])];
        program(nodes, Rounding::Floor, Reveal::Logits).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(why(255.0, -63.0), Ok(()));
    assert!(why(1.0, 64.5).unwrap_err().contains("`n0`: addend 64.5 beyond"));
    assert!(why(-1e6, 0.0).unwrap_err().contains("`n0`: factor -1000000 beyond"));
}

/// Where elements come from is computed once for all runs.
#[test]
fn runs_share_the_places_of_a_program() {
    struct Gathers(Planner, Vec<std::sync::Arc<[usize]>>);
    impl Engine for Gathers {
        type Value = Form;
        fn form<'a>(&self, v: &'a Form) -> &'a Form {
            v
        }
        fn layer(&mut self, _: &str) {}
        fn gate<G: twoply_primitives::Gate>(
            &mut self,
            g: &G,
            x: &[&Form],
        ) -> twoply_primitives::Result<Form> {
            self.0.gate(g, x)
        }
        fn local(&mut self, f: &Local, x: &[&Form]) -> twoply_primitives::Result<Form> {
            if let Local::Gather(places) = f {
                self.1.push(places.clone());
            }
            f.output(x)
        }
    }

    impl Infer for Gathers {
        fn input(&mut self, form: &Form) -> twoply_primitives::Result<Form> {
            self.0.input(form)
        }
        fn output<G: twoply_primitives::Gate>(
            &mut self,
            g: &G,
            x: &[&Form],
        ) -> twoply_primitives::Result<()> {
            self.0.output(g, x)
        }
        fn aside<G: twoply_primitives::Gate>(&mut self, g: &G, x: &[&Form]) -> twoply_primitives::Result<()> {
            self.0.aside(g, x)
        }
        fn deliver(&mut self, x: &Form) -> twoply_primitives::Result<()> {
            self.0.deliver(x)
        }
    }
    let nodes = vec![
        (Op::Pad([1, 0, 0, 1]), vec![]),
        (Op::Transpose(vec![1, 0, 2]), vec![]),
        (Op::Take(vec![None, Some(vec![Some(1), None]), None]), vec![]),
        (Op::Concat, vec![Source::Node(2), Source::Node(2)]),
        (Op::MaxPool(Window::square(1, 2)), vec![]),
    ];
    let p = program(nodes, Rounding::PublicCoin, Reveal::Logits).unwrap();
    let run = || {
        let mut seen = Gathers(Planner::new(32), vec![]);
        p.run(&mut seen, &p.params(), 2).unwrap();
        seen.1
    };
    let (a, b) = (run(), run());
    assert_eq!(a.len(), 5 + 2, "five moves, two of them with zeros");
    assert!(a.iter().zip(&b).all(|(a, b)| std::sync::Arc::ptr_eq(a, b)));
}

#[test]
fn labels_need_classes_and_a_final_argmax_needs_labels() {
    let why = |r: Result<Program>| r.expect_err("refused").to_string();
    assert!(why(program(vec![conv(0)], Rounding::Floor, Reveal::Label)).contains("two or more classes"));
    let score = |more: &[(Op, Vec<Source>)]| {
        let mut g = graph([&[flat(), linear()], more].concat());
        g.params[0].shape = vec![1, 32];
        why(Program::new(&g, &options(Rounding::Floor, Reveal::Label), &[]))
    };
    assert!(score(&[]).contains("gate of its own"));
    assert!(score(&[(Op::Argmax, vec![])]).contains("always 0"));
    let label = vec![flat(), linear(), (Op::Argmax, vec![])];
    assert!(why(program(label, Rounding::Floor, Reveal::Logits)).contains("ends in argmax"));
    let bad = Options { fixed: Fixed { n: 32, f: 15 }, ..Options::default() };
    assert!(Program::new(&graph(vec![flat()]), &bad, &[]).is_err());
}

#[test]
fn absurd_graphs_end_in_errors() {
    let mut g = graph(vec![(Op::MaxPool(Window::square(4096, 1)), vec![])]);
    g.input.shape = vec![1, 8192, 8192];
    let why = Program::new(&g, &Options::default(), &[]).unwrap_err().to_string();
    assert!(why.contains("taps"), "{why}");
    // a long chain of reshapes behind a product: no recursion, no quadratic search
    let mut nodes = vec![conv(0)];
    nodes.extend((0..60_000).map(|i| (Op::Reshape(if i % 2 == 0 { vec![32] } else { vec![2, 16] }), vec![])));
    let p = program(nodes, Rounding::PublicCoin, Reveal::Logits).unwrap();
    assert_eq!(p.output(1).unwrap().1, 24);
}
