//! The networks for MNIST. AriaNN's have a ReLU behind the logits too.

use super::net::Net;
use twoply_primitives::tensor::Window;

/// 784-128-128-10.
pub(super) fn network_1(net: &mut Net<'_>, classes: usize) {
    net.flatten();
    head(net, &[128, 128, classes]);
}

/// Convolutions of 16 and 16 channels, fully connected 100-10.
pub(super) fn network_2(net: &mut Net<'_>, classes: usize) {
    body(net, [16, 16]);
    head(net, &[100, classes]);
}

/// Convolutions of 20 and 50 channels, fully connected 500-10.
pub(super) fn lenet(net: &mut Net<'_>, classes: usize) {
    body(net, [20, 50]);
    head(net, &[500, classes]);
}

/// 5x5 convolutions, each with a pool of 2x2 and a ReLU behind it.
fn body(net: &mut Net<'_>, channels: [usize; 2]) {
    for (i, to) in (1..).zip(channels) {
        net.conv(&format!("conv{i}"), to, Window::square(5, 1), true);
        net.max_pool(&format!("pool{i}"), Window::square(2, 2));
        net.relu(&format!("relu{i}"));
    }
    net.flatten();
}

/// Fully connected layers, each with a ReLU behind it.
pub(super) fn head(net: &mut Net<'_>, widths: &[usize]) {
    for (i, to) in (1..).zip(widths) {
        net.linear(&format!("fc{i}"), *to);
        net.relu(&format!("fc{i}.relu"));
    }
}
