//! AlexNet and VGG16, with their ReLUs behind the pools.

use super::net::Net;
use super::small::head;
use twoply_primitives::tensor::Window;

/// AriaNN's AlexNet for images of 32x32 (Falcon's): a ReLU behind the logits too.
pub(super) fn alexnet_cifar10(net: &mut Net<'_>, classes: usize) {
    let windows = [Window::square(11, 4).padded(10), Window::square(5, 1).padded(1)];
    for ((i, window), to) in (1..).zip(windows).zip([96, 256]) {
        net.conv(&format!("conv{i}"), to, window, true);
        net.max_pool(&format!("pool{i}"), Window::square(3, 2));
        net.relu(&format!("relu{i}"));
        net.norm(&format!("bn{i}"));
    }
    for (i, to) in (3..).zip([384, 384, 256]) {
        net.conv(&format!("conv{i}"), to, Window::square(3, 1).padded(1), true);
        net.relu(&format!("relu{i}"));
    }
    net.flatten();
    head(net, &[256, 256, classes]);
}

/// torchvision's features, fully connected 256-1024-1024-200.
pub(super) fn alexnet_64x64(net: &mut Net<'_>, classes: usize) {
    let same = Window::square(3, 1).padded(1);
    let convolutions = [
        (0, 64, Window::square(11, 4).padded(2), true),
        (3, 192, Window::square(5, 1).padded(2), true),
        (6, 384, same, false),
        (8, 256, same, false),
        (10, 256, same, true),
    ];
    for (at, to, window, pooled) in convolutions {
        net.conv(&format!("features.{at}"), to, window, true);
        if pooled {
            net.max_pool(&format!("features.{}", at + 2), Window::square(3, 2));
        }
        net.relu(&format!("features.{}", at + 1));
    }
    net.flatten();
    classifier(net, [1, 4, 6], [1024, 1024, classes]);
}

/// torchvision's features, fully connected 4096-4096.
pub(super) fn vgg16(net: &mut Net<'_>, classes: usize) {
    let mut at = 0;
    for (channels, count) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)] {
        for i in 1..=count {
            net.conv(&format!("features.{at}"), channels, Window::square(3, 1).padded(1), true);
            if i == count {
                net.max_pool(&format!("features.{}", at + 2), Window::square(2, 2));
            }
            net.relu(&format!("features.{}", at + 1));
            at += 2;
        }
        at += 1;
    }
    net.flatten();
    classifier(net, [0, 3, 6], [4096, 4096, classes]);
}

/// Fully connected layers with a ReLU behind all but the last, at their places among dropouts.
fn classifier(net: &mut Net<'_>, places: [usize; 3], widths: [usize; 3]) {
    for (i, (at, to)) in places.into_iter().zip(widths).enumerate() {
        net.linear(&format!("classifier.{at}"), to);
        if i < 2 {
            net.relu(&format!("classifier.{}", at + 1));
        }
    }
}
