//! The networks of AriaNN's evaluation (PETS 2022), ResNet18 for ImageNet, ResNet-20 and ResNet-8: their definitions, with
//! parameters from a file or made up from a seed.
//!
//! Parameters have the names that torchvision gives them, so that a state dictionary saved as safetensors fits.
//! Batch normalisation is folded into the convolution before it; behind a ReLU it stands alone. For training it is kept.

pub mod ariann;
mod large;
mod net;
mod residual;
mod small;
mod tensors;

use crate::graph::Normalise;
use crate::{Error, Imported, Result};
use net::Net;
pub use tensors::{Kind, Seeded, StateDict, Tensors};

/// A network of the zoo.
pub struct Entry {
    /// What to call it.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// `[c, h, w]` of an image.
    pub input: [usize; 3],
    /// Classes told apart.
    pub classes: usize,
    /// Mean and standard deviation per channel of its data set, of pixels in `0..=1`.
    statistics: (&'static [f64], &'static [f64]),
    build: fn(&mut Net<'_>, usize),
}

const MNIST: (&[f64], &[f64]) = (&[0.1307], &[0.3081]);
const CIFAR: (&[f64], &[f64]) = (&[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]);
const IMAGENET: (&[f64], &[f64]) = (&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]);

/// All of them, small to large.
pub const ALL: [Entry; 11] = [
    Entry {
        name: "network-1",
        about: "fully connected 784-128-128-10, MNIST",
        input: [1, 28, 28],
        classes: 10,
        statistics: MNIST,
        build: small::network_1,
    },
    Entry {
        name: "network-2",
        about: "two convolutions of 16 channels, fully connected 100-10, MNIST",
        input: [1, 28, 28],
        classes: 10,
        statistics: MNIST,
        build: small::network_2,
    },
    Entry {
        name: "lenet",
        about: "convolutions of 20 and 50 channels, fully connected 500-10, MNIST",
        input: [1, 28, 28],
        classes: 10,
        statistics: MNIST,
        build: small::lenet,
    },
    Entry {
        name: "alexnet-cifar10",
        about: "AlexNet for 32x32, batch normalisation behind two ReLUs",
        input: [3, 32, 32],
        classes: 10,
        statistics: CIFAR,
        build: large::alexnet_cifar10,
    },
    Entry {
        name: "alexnet-64x64",
        about: "torchvision's AlexNet features without average pool, Tiny ImageNet",
        input: [3, 64, 64],
        classes: 200,
        statistics: IMAGENET,
        build: large::alexnet_64x64,
    },
    Entry {
        name: "vgg16-cifar10",
        about: "torchvision's VGG16 features without average pool, CIFAR-10",
        input: [3, 32, 32],
        classes: 10,
        statistics: CIFAR,
        build: large::vgg16,
    },
    Entry {
        name: "vgg16-64x64",
        about: "torchvision's VGG16 features without average pool, Tiny ImageNet",
        input: [3, 64, 64],
        classes: 200,
        statistics: IMAGENET,
        build: large::vgg16,
    },
    Entry {
        name: "resnet8-cifar10",
        about: "ResNet-8 with projection shortcuts, CIFAR-10",
        input: [3, 32, 32],
        classes: 10,
        statistics: CIFAR,
        build: residual::resnet8,
    },
    Entry {
        name: "resnet20-cifar10",
        about: "ResNet-20 with projection shortcuts, CIFAR-10",
        input: [3, 32, 32],
        classes: 10,
        statistics: CIFAR,
        build: residual::resnet20,
    },
    Entry {
        name: "resnet18-2",
        about: "torchvision's ResNet18 for two classes, max pool before the first ReLU",
        input: [3, 224, 224],
        classes: 2,
        statistics: IMAGENET,
        build: residual::resnet18,
    },
    Entry {
        name: "resnet18",
        about: "torchvision's ResNet18 for ImageNet, max pool before the first ReLU",
        input: [3, 224, 224],
        classes: 1000,
        statistics: IMAGENET,
        build: residual::resnet18,
    },
];

/// The network of this name.
///
/// # Errors
/// [`Error::Data`] with all names if there is none.
pub fn named(name: &str) -> Result<&'static Entry> {
    ALL.iter().find(|e| e.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|e| e.name).collect();
        Error::data("zoo", format!("no network `{name}`; there are {}", names.join(", ")))
    })
}

impl Entry {
    /// The network with parameters from `tensors`.
    ///
    /// # Errors
    /// [`Error::Data`] listing every tensor that is missing, misshapen or not of this network.
    pub fn build(&self, tensors: &mut dyn Tensors) -> Result<Imported> {
        self.written(self.net(tensors))
    }
    /// The same for training: batch normalisations stay layers of their own.
    ///
    /// # Errors
    /// As [`Entry::build`].
    pub fn with_norms(&self, tensors: &mut dyn Tensors) -> Result<Imported> {
        self.written(self.net(tensors).keeping_norms())
    }
    fn net<'t>(&self, tensors: &'t mut dyn Tensors) -> Net<'t> {
        let (mean, std) = self.statistics;
        let normalise = Normalise { scale: 1.0 / 255.0, mean: mean.to_vec(), std: std.to_vec() };
        Net::new(self.input, normalise, tensors)
    }
    fn written(&self, mut net: Net<'_>) -> Result<Imported> {
        (self.build)(&mut net, self.classes);
        net.finish(self.name)
    }
    /// Images of noise as bytes, `[images, c, h, w]`, for cost runs: reproducible.
    pub fn noise(&self, images: usize) -> Vec<u8> {
        let mut bytes = vec![0; images * self.input.iter().product::<usize>()];
        let mut h = blake3::Hasher::new_derive_key("twoply 2026-11 noise images v1");
        h.update(self.name.as_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests;
