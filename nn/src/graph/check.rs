//! Shapes through the graph, and everything that can be wrong with one. Collects faults instead of stopping at the first.

use super::*;
use std::collections::HashSet;

/// Shape of a result, or what forbids it.
pub(super) type Checked = std::result::Result<Vec<usize>, Vec<String>>;

impl Graph {
    /// Checks everything that can be checked without weights.
    ///
    /// # Errors
    /// [`Error::Graph`] listing all faults.
    pub fn validate(&self) -> Result<()> {
        self.shapes().map(drop)
    }

    /// Shape of each node's result per image, without the batch axis.
    ///
    /// # Errors
    /// [`Error::Graph`] listing all faults.
    pub fn shapes(&self) -> Result<Vec<Vec<usize>>> {
        let mut faults = Vec::new();
        self.check_input(&mut faults);
        self.check_names(&mut faults);
        let shapes = self.walk(&mut faults);
        self.check_use(&mut faults);
        match shapes.into_iter().collect::<Option<Vec<_>>>() {
            Some(shapes) if faults.is_empty() => Ok(shapes),
            _ => Err(Error::Graph { graph: self.name.chars().take(MAX_NAME).collect(), faults }),
        }
    }

    fn check_input(&self, faults: &mut Vec<String>) {
        if let Err(why) = check_shape(&self.input.shape) {
            faults.push(format!("input `{}`: {why}", self.input.name));
        }
        let n = &self.input.normalise;
        let channels = self.input.channels();
        for (what, values) in [("mean", &n.mean), ("std", &n.std)] {
            if !values.is_empty() && values.len() != channels {
                faults.push(format!(
                    "normalise: {} values of {what} for {channels} channel(s); give one per channel or none",
                    values.len()
                ));
            }
        }
        let usable = |v: &f64| v.is_finite() && *v != 0.0;
        if !usable(&n.scale) || !n.std.iter().all(usable) || !n.mean.iter().all(|v| v.is_finite()) {
            faults.push("normalise: scale and std must be finite and not zero, mean must be finite".into());
        }
    }

    fn check_names(&self, faults: &mut Vec<String>) {
        for (what, count) in [("nodes", self.nodes.len()), ("params", self.params.len())] {
            if count > MAX_NODES {
                faults.push(format!("{count} {what}, more than the {MAX_NODES} allowed"));
            }
        }
        let singles = [("graph", &self.name), ("input", &self.input.name)];
        let params = self.params.iter().map(|p| ("param", &p.name));
        let nodes = self.nodes.iter().map(|n| ("node", &n.name));
        let mut seen = HashSet::new();
        for (what, name) in singles.into_iter().chain(params).chain(nodes) {
            if let Err(why) = check_name(name) {
                faults.push(format!("{what} name {name:?}: {why}"));
            }
            if !seen.insert((what, name)) {
                faults.push(format!("two {what}s are named `{name}`"));
            }
        }
    }

    /// Shapes where they can be told; a node behind a faulty one is `None` without a fault of its own.
    fn walk(&self, faults: &mut Vec<String>) -> Vec<Option<Vec<usize>>> {
        if self.nodes.is_empty() {
            faults.push("there is no node; the last node is the output".into());
        }
        for p in &self.params {
            if let Err(why) = check_shape(&p.shape) {
                faults.push(format!("param `{}`: {why}", p.name));
            }
        }
        let mut shapes: Vec<Option<Vec<usize>>> = Vec::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.iter().enumerate() {
            let mut mine = Vec::new();
            let mut inputs: Vec<Option<&[usize]>> = Vec::new();
            for source in &node.inputs {
                inputs.push(match source {
                    Source::Input => check_shape(&self.input.shape).is_ok().then_some(&self.input.shape[..]),
                    Source::Node(j) if *j < i => shapes[*j].as_deref(),
                    Source::Node(j) => {
                        mine.push(format!("reads node {j}, which does not run before it (it is node {i})"));
                        None
                    }
                });
            }
            if node.op == Op::Argmax && i + 1 != self.nodes.len() {
                mine.push("argmax gives an index and may only be the last node".into());
            }
            // Only a node whose operands are all known can be judged further.
            let known: Option<Vec<&[usize]>> = inputs.into_iter().collect();
            let shape = known.and_then(|x| node.op.output(&x, &self.params).map_err(|w| mine.extend(w)).ok());
            faults.extend(
                mine.into_iter().map(|why| format!("node `{}` ({}): {why}", node.name, node.op.kind())),
            );
            shapes.push(shape);
        }
        shapes
    }

    fn check_use(&self, faults: &mut Vec<String>) {
        let readers = self.consumers();
        for (node, readers) in self.nodes.iter().zip(&readers).take(self.nodes.len().saturating_sub(1)) {
            if readers.is_empty() {
                faults.push(format!(
                    "node `{}`: nothing reads its result, and it is not the last node",
                    node.name
                ));
            }
        }
        let used: HashSet<usize> = self.nodes.iter().flat_map(|n| n.op.params()).collect();
        for (i, p) in self.params.iter().enumerate() {
            if !used.contains(&i) {
                faults.push(format!("param `{}`: no node uses it", p.name));
            }
        }
    }
}

impl Op {
    /// Shape of the result on operands of these shapes (per image); all reasons if there is none.
    pub(crate) fn output(&self, x: &[&[usize]], params: &[Param]) -> Checked {
        let arity = match self {
            Op::Add | Op::Sub | Op::Mul => 2..=2,
            Op::Concat => 1..=MAX_NODES,
            _ => 1..=1,
        };
        if !arity.contains(&x.len()) {
            return Err(vec![format!("takes {} operand(s), found {}", arity.start(), x.len())]);
        }
        let shape = match self {
            Op::Linear { weight, bias } => linear(x[0], params, *weight, *bias)?,
            Op::Conv2d { weight, bias, window, groups } => {
                conv2d(x[0], params, (*weight, *bias), window, *groups)?
            }
            Op::Add | Op::Sub | Op::Mul if x[0] != x[1] => {
                return Err(vec![format!("operands of shapes {:?} and {:?} must be alike", x[0], x[1])]);
            }
            Op::LeakyRelu { slope } if !(0.0..=1.0).contains(slope) => {
                return Err(vec![format!("a slope of {slope}, wanted 0 to 1")]);
            }
            Op::Clip { low, high } => {
                check_limits(*low, *high).map_err(|why| vec![why])?;
                x[0].to_vec()
            }
            Op::Affine { scale, shift } if *scale == 0.0 || !scale.is_finite() || !shift.is_finite() => {
                return Err(vec![format!("{scale} x + {shift}: wanted finite numbers, the factor not zero")]);
            }
            Op::Dropout { ratio } if !(0.0..1.0).contains(ratio) => {
                return Err(vec![format!("a ratio of {ratio}, wanted 0 to below 1")]);
            }
            Op::Offset { weight } => offset(x[0], params, *weight)?,
            op @ Op::BatchNorm { .. } => norm::checked(op, x[0], params)?,
            Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Affine { .. }
            | Op::Relu
            | Op::LeakyRelu { .. }
            | Op::Dropout { .. } => x[0].to_vec(),
            Op::Concat => concat(x)?,
            Op::Pad(pad) => moves::padded(x[0], pad).map_err(|why| vec![why])?,
            Op::Transpose(perm) => moves::transposed(x[0], perm).map_err(|why| vec![why])?,
            Op::Take(lists) => moves::taken(x[0], lists).map_err(|why| vec![why])?,
            Op::MaxPool(window) | Op::SumPool(window) | Op::AvgPool { window, .. } => pool(x[0], window)?,
            Op::Reshape(to) => {
                check_shape(to).map_err(|why| vec![why])?;
                if elements(to) != elements(x[0]) {
                    return Err(vec![format!("{:?} does not have as many elements as {to:?}", x[0])]);
                }
                to.clone()
            }
            Op::Argmax if x[0].len() != 1 => {
                return Err(vec![format!("takes one axis per image, found {:?}", x[0])]);
            }
            Op::Argmax => vec![1],
        };
        check_shape(&shape).map_err(|why| vec![why])?;
        Ok(shape)
    }
}

pub(super) fn param<'a>(
    params: &'a [Param],
    index: usize,
    role: Role,
    faults: &mut Vec<String>,
) -> Option<&'a [usize]> {
    match params.get(index) {
        None => faults.push(format!("uses param {index}, but there are only {}", params.len())),
        Some(p) if p.role != role => {
            faults.push(format!("uses `{}` as {role:?}, but its role is {:?}", p.name, p.role));
        }
        Some(p) => return Some(&p.shape),
    }
    None
}

fn check_bias(params: &[Param], bias: Option<usize>, channels: Option<usize>, faults: &mut Vec<String>) {
    let shape = bias.and_then(|b| param(params, b, Role::Bias, faults));
    if let (Some(shape), Some(channels)) = (shape, channels)
        && shape != [channels]
    {
        faults.push(format!("bias of shape {shape:?}, wanted [{channels}]"));
    }
}

fn offset(x: &[usize], params: &[Param], weight: usize) -> Checked {
    let mut faults = Vec::new();
    match param(params, weight, Role::Weight, &mut faults) {
        Some(w) if w == x => return Ok(x.to_vec()),
        Some(w) => faults.push(format!("addends of shape {w:?} on an operand of {x:?}")),
        None => {}
    }
    Err(faults)
}

fn linear(x: &[usize], params: &[Param], weight: usize, bias: Option<usize>) -> Checked {
    let mut faults = Vec::new();
    let w = param(params, weight, Role::Weight, &mut faults);
    let mut out = None;
    match (w, x) {
        (Some(&[rows, columns]), &[n]) if columns == n => out = Some(rows),
        (Some(w), _) => {
            faults.push(format!("weight of shape {w:?} on an operand of {x:?}, wanted [out, in] on [in]"))
        }
        (None, _) => {}
    }
    check_bias(params, bias, out, &mut faults);
    match out {
        Some(out) if faults.is_empty() => Ok(vec![out]),
        _ => Err(faults),
    }
}

fn conv2d(
    x: &[usize],
    params: &[Param],
    (weight, bias): (usize, Option<usize>),
    window: &Window,
    groups: usize,
) -> Checked {
    let mut faults = Vec::new();
    let mut out = None;
    match (param(params, weight, Role::Weight, &mut faults), x) {
        (Some(&[oc, per_group, kh, kw]), &[c, h, w]) => {
            check_bias(params, bias, Some(oc), &mut faults);
            if groups == 0 || oc % groups != 0 || per_group.checked_mul(groups) != Some(c) {
                faults.push(format!(
                    "{groups} group(s) of {per_group} channel(s) do not split {c} channels into {oc} outputs"
                ));
            }
            if window.kernel != [kh, kw] {
                faults.push(format!("window of {:?} over a kernel of {:?}", window.kernel, [kh, kw]));
            }
            match window_output(window, h, w) {
                Ok([oh, ow]) => out = Some(vec![oc, oh, ow]),
                Err(why) => faults.push(why),
            }
        }
        (Some(shape), _) => faults.push(format!(
            "weight of shape {shape:?} on an operand of {x:?}, wanted [oc, c/groups, kh, kw] on [c, h, w]"
        )),
        (None, _) => {}
    }
    match out {
        Some(out) if faults.is_empty() => Ok(out),
        _ => Err(faults),
    }
}

/// Whether limits of a clip make sense.
fn check_limits(low: Option<f64>, high: Option<f64>) -> std::result::Result<(), String> {
    match (low, high) {
        (None, None) => Err("without a limit does nothing".into()),
        _ if low.iter().chain(&high).any(|v| !v.is_finite()) => Err("limits must be finite".into()),
        (Some(low), Some(high)) if low >= high => Err(format!("from {low} to {high}: nothing is between")),
        _ => Ok(()),
    }
}

fn concat(x: &[&[usize]]) -> Checked {
    let alike = |s: &&[usize]| s.len() == x[0].len() && s[1..] == x[0][1..];
    if let Some(other) = x.iter().find(|s| !alike(s)) {
        return Err(vec![format!(
            "operands of shapes {:?} and {other:?} differ behind the first axis",
            x[0]
        )]);
    }
    let first = x.iter().try_fold(0usize, |n, s| n.checked_add(s[0])).unwrap_or(usize::MAX);
    Ok([&[first], &x[0][1..]].concat())
}

fn pool(x: &[usize], window: &Window) -> Checked {
    let &[c, h, w] = x else {
        return Err(vec![format!("takes [c, h, w], found {x:?}")]);
    };
    let [oh, ow] = window_output(window, h, w).map_err(|why| vec![why])?;
    for (axis, size, out) in [(0, h, oh), (1, w, ow)] {
        if !every_window_has_a_tap(window, axis, size, out) {
            return Err(vec!["some window covers nothing but padding".into()]);
        }
    }
    Ok(vec![c, oh, ow])
}

fn window_output(window: &Window, h: usize, w: usize) -> std::result::Result<[usize; 2], String> {
    let Window { kernel, stride, pad, dilation } = window;
    if kernel.iter().chain(stride).chain(pad).chain(dilation).any(|&v| v > MAX_WINDOW) {
        return Err(format!("kernel, stride, padding and dilation may be {MAX_WINDOW} at most"));
    }
    window.output(h, w).map_err(|e| e.to_string())
}

/// Along one axis. Positions at or behind the first pixel start with their first tap, so of those only the last can
/// fall off the end; the few in front of it are looked at one by one.
fn every_window_has_a_tap(window: &Window, axis: usize, size: usize, out: usize) -> bool {
    let (k, s, d) = (window.kernel[axis], window.stride[axis], window.dilation[axis]);
    let pad = window.pad[axis];
    let has_tap = |o: usize| {
        let first = pad.saturating_sub(o * s).div_ceil(d);
        first < k && o * s + first * d - pad < size
    };
    (0..out.min(pad.div_ceil(s))).all(has_tap) && has_tap(out - 1)
}

/// Whether a shape is within the limits.
pub(crate) fn check_shape(shape: &[usize]) -> std::result::Result<(), String> {
    if shape.is_empty() || shape.len() > MAX_RANK {
        return Err(format!("{} axes, wanted 1 to {MAX_RANK}", shape.len()));
    }
    match elements(shape) {
        None => Err(format!("shape {shape:?} has more than {MAX_ELEMENTS} elements")),
        Some(0) => Err(format!("shape {shape:?} has no element")),
        Some(_) => Ok(()),
    }
}

fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    match name {
        "" => Err("must not be empty"),
        // safetensors keeps this key for itself.
        "__metadata__" => Err("is reserved"),
        n if n.len() > MAX_NAME => Err("is too long"),
        n if n.chars().any(char::is_control) => Err("must not hold control characters"),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests;
