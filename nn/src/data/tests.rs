use super::*;
use crate::graph::Normalise;

fn input(shape: &[usize]) -> Input {
    let normalise = Normalise { scale: 0.5, mean: vec![1.0, 0.0], std: vec![] };
    Input { name: "x".into(), shape: shape.to_vec(), normalise, layout: Default::default() }
}

#[test]
fn bytes_are_normalised_and_floats_as_told() {
    let raw = Images { shape: vec![2, 1, 1], pixels: Pixels::Raw(vec![2, 4, 6, 8]), axes: Axes::Said };
    assert_eq!(raw.inputs(&input(&[2, 1, 1]), Floats::Normalised).unwrap(), [0.0, 2.0, 2.0, 4.0]);
    let float = Images { shape: vec![2, 1, 1], pixels: Pixels::Float(vec![2.0, 4.0]), axes: Axes::Said };
    assert_eq!(float.inputs(&input(&[2, 1, 1]), Floats::Raw).unwrap(), [0.0, 2.0]);
    assert_eq!(float.inputs(&input(&[2, 1, 1]), Floats::Normalised).unwrap(), [2.0, 4.0]);
    assert_eq!((raw.len(), float.len()), (2, 1));
    let whole = Images { shape: vec![2, 1, 1], pixels: Pixels::Whole(vec![2.0, 4.0]), axes: Axes::Said };
    for floats in [Floats::Raw, Floats::Normalised] {
        assert_eq!(whole.inputs(&input(&[2, 1, 1]), floats).unwrap(), [0.0, 2.0], "integers are raw");
    }
}

#[test]
fn shapes_must_fit_the_input() {
    let image = Images { shape: vec![4, 4, 3], pixels: Pixels::Raw(vec![0; 48]), axes: Axes::Said };
    let why = image.inputs(&input(&[3, 2, 8]), Floats::Raw).unwrap_err().to_string();
    assert!(why.contains("[4, 4, 3]") && why.contains("[3, 2, 8]"), "{why}");
    assert_eq!(image.inputs(&input(&[48]), Floats::Raw).unwrap().len(), 48);
    assert!(image.inputs(&input(&[49]), Floats::Raw).is_err());
    let wide = Images { shape: vec![1], pixels: Pixels::Float(vec![f32::MAX]), axes: Axes::Said };
    let mut steep = input(&[1]);
    steep.normalise = Normalise { scale: 1e30, ..Normalise::default() };
    assert!(wide.inputs(&steep, Floats::Raw).unwrap_err().to_string().contains("image 0"));
}

#[test]
fn sets_join_only_when_alike() {
    let raw = |n| Images { shape: vec![1, 1, n], pixels: Pixels::Raw(vec![7; n]), axes: Axes::Said };
    assert_eq!(Images::concat(vec![raw(2), raw(2)]).unwrap().len(), 2);
    assert!(Images::concat(vec![raw(2), raw(3)]).is_err());
    let float = Images { shape: vec![1, 1, 2], pixels: Pixels::Float(vec![0.0; 2]), axes: Axes::Said };
    assert!(Images::concat(vec![raw(2), float.clone()]).is_err());
    let whole = Images { pixels: Pixels::Whole(vec![0.0; 2]), ..float };
    assert!(Images::concat(vec![raw(2), whole]).is_err());
    assert!(Images::concat(vec![]).is_err());
}

#[test]
fn unknown_and_damaged_bytes_are_named() {
    for (bytes, want) in [
        (&b""[..], "is empty"),
        (b"\x07\0", "neither NPY"),
        (&[0x1f, 0x8b, 8, 0, 0], "gzip: damaged"),
        (&[0, 0, 8, 3, 0], "IDX"),
    ] {
        let why = Images::read(bytes).unwrap_err().to_string();
        assert!(why.contains(want), "{why}");
    }
}

/// One set of labels in every format.
#[test]
fn labels_come_in_every_format() {
    let idx = [&[0, 0, 12, 1, 0, 0, 0, 2][..], &[0, 0, 0, 3, 0, 0, 1, 0]].concat();
    for text in ["3\n256\n", "label\n3\n256", "3.0\r\n2.56e2\r\n", ",label\n0,3\n1,256\n"] {
        assert_eq!(Labels::read(text.as_bytes()).unwrap().0, [3, 256], "{text:?}");
    }
    assert_eq!(Labels::read(&idx).unwrap().0, [3, 256]);
    let table = b"a,label\n1,3\n2,256\n";
    assert_eq!(Labels::read_part(table, Some("label")).unwrap().0, [3, 256]);
    assert_eq!(Labels::read(&[vec![4; 3073], vec![5; 3073]].concat()).unwrap().0, [4, 5]);
    for (bytes, part, want) in [
        (&table[..], None, "file.csv:label"),
        (b"a,b\n1.5,2\n", None, "2 columns"),
        (b"1\n-1\n", None, "-1 is no label"),
        (b"1\n1.5\n", None, "1.5 is no label"),
        (b"1\ncat\n", None, "`cat` is no number"),
        (&idx, Some("y"), "leave out `:y`"),
        (b"\xff\xd8\xff", None, "picture"),
    ] {
        let why = Labels::read_part(bytes, part).unwrap_err().to_string();
        assert!(why.contains(want), "{why}");
    }
}
