//! Small ONNX models, byte by byte.

/// A node: its type, what it takes, what it gives.
pub type Node<'a> = (&'a str, &'a [&'a str], &'a str);

/// A constant of floats: name, extents, values.
pub type Constant<'a> = (&'a str, &'a [u8], &'a [f32]);

/// A field of bytes of a protocol buffer.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let (mut head, mut length) = (vec![number << 3 | 2], bytes.len());
    while length > 127 {
        head.push(length as u8 | 128);
        length >>= 7;
    }
    head.push(length as u8);
    [&head, bytes].concat()
}

/// The bytes of a model: `x` in, float images of this shape, and `output` out.
pub fn model(shape: &[u8], nodes: &[Node<'_>], constants: &[Constant<'_>], output: &str) -> Vec<u8> {
    let node = |(op, from, to): &Node<'_>| {
        let from: Vec<u8> = from.iter().flat_map(|name| field(1, name.as_bytes())).collect();
        field(1, &[from, field(2, to.as_bytes()), field(3, to.as_bytes()), field(4, op.as_bytes())].concat())
    };
    let constant = |(name, shape, values): &Constant<'_>| {
        let shape: Vec<u8> = shape.iter().flat_map(|&extent| [8, extent]).collect();
        let values: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        field(5, &[shape, vec![16, 1], field(8, name.as_bytes()), field(9, &values)].concat())
    };
    // The batch is a symbol, as exporters write it.
    let dims: Vec<u8> = shape.iter().flat_map(|&extent| field(1, &[8, extent])).collect();
    let dims = [field(1, &field(2, b"batch")), dims].concat();
    let kind = field(1, &[&[8, 1][..], &field(2, &dims)].concat());
    let value = |name: &str| [field(1, name.as_bytes()), field(2, &kind)].concat();
    let (nodes, constants): (Vec<u8>, Vec<u8>) =
        (nodes.iter().flat_map(node).collect(), constants.iter().flat_map(constant).collect());
    let (input, output) = (field(11, &value("x")), field(12, &value(output)));
    let graph = field(7, &[nodes, field(2, b"g"), constants, input, output].concat());
    [&[8, 8][..], &field(8, &[16, 13]), &graph].concat()
}
