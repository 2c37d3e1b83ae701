//! Residual networks (He et al., CVPR 2016) of basic blocks.

use super::net::Net;
use twoply_primitives::tensor::Window;

/// torchvision's ResNet18, with the max pool before the first ReLU.
pub(super) fn resnet18(net: &mut Net<'_>, classes: usize) {
    net.conv("conv1", 64, Window::square(7, 2).padded(3), false);
    net.norm("bn1");
    net.max_pool("maxpool", Window::square(3, 2).padded(1));
    net.relu("relu");
    stages(net, &[64, 128, 256, 512], 2, "downsample");
    net.mean("avgpool");
    net.flatten();
    net.linear("fc", classes);
}

/// 20 layers for images of 32x32; a 1x1 convolution where the shape changes.
pub(super) fn resnet20(net: &mut Net<'_>, classes: usize) {
    small(net, 3, classes);
}

/// 8 layers: one block a stage.
pub(super) fn resnet8(net: &mut Net<'_>, classes: usize) {
    small(net, 1, classes);
}

/// For images of 32x32.
fn small(net: &mut Net<'_>, blocks: usize, classes: usize) {
    net.conv("conv1", 16, Window::square(3, 1).padded(1), false);
    net.norm("bn1");
    net.relu("relu");
    stages(net, &[16, 32, 64], blocks, "shortcut");
    net.mean("avgpool");
    net.flatten();
    net.linear("linear", classes);
}

/// Stages of `blocks` blocks each; all but the first one begin with a stride of 2.
fn stages(net: &mut Net<'_>, channels: &[usize], blocks: usize, shortcut: &str) {
    for (stage, &to) in channels.iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            basic(net, &format!("layer{}.{block}", stage + 1), to, stride, shortcut);
        }
    }
}

/// Two 3x3 convolutions beside a shortcut.
fn basic(net: &mut Net<'_>, name: &str, to: usize, stride: usize, shortcut: &str) {
    let (from, projected) = (net.here(), stride > 1 || net.channels() != to);
    net.conv(&format!("{name}.conv1"), to, Window::square(3, stride).padded(1), false);
    net.norm(&format!("{name}.bn1"));
    net.relu(&format!("{name}.relu1"));
    net.conv(&format!("{name}.conv2"), to, Window::square(3, 1).padded(1), false);
    net.norm(&format!("{name}.bn2"));
    let branch = net.here();
    net.go_to(from);
    if projected {
        net.conv(&format!("{name}.{shortcut}.0"), to, Window::square(1, stride), false);
        net.norm(&format!("{name}.{shortcut}.1"));
    }
    let straight = net.here();
    net.go_to(branch);
    net.add(&format!("{name}.add"), straight);
    net.relu(&format!("{name}.relu2"));
}
