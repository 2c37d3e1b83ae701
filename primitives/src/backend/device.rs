//! Which device computes: as a user asks for it, and what this program and this machine make of it.
//!
//! Errors have the form `cause; remedy`.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

#[cfg(feature = "cuda")]
use super::cuda;

/// Stands for CUDA in a program that was built without it.
#[cfg(not(feature = "cuda"))]
pub mod cuda {
    use crate::{Error, Result};

    /// Why there is none.
    pub fn missing() -> Error {
        let remedy = "build it with `--features cuda`, or compute on the CPU with `--device cpu`";
        Error::Device(format!("this program was built without CUDA; {remedy}"))
    }
    pub(super) fn count() -> Result<usize> {
        Err(missing())
    }
    pub(super) fn name(_: usize) -> Result<String> {
        Err(missing())
    }
    pub(super) fn check(_: usize) -> Result<()> {
        Err(missing())
    }
}

/// A device that computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

/// A device as a user asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Choice {
    /// `cuda:0` if this program can compute on it, else the CPU.
    #[default]
    Auto,
    /// This one.
    Is(Device),
}

impl Choice {
    /// The device that computes.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if a device is named that is not there.
    pub fn resolve(self) -> Result<Device> {
        match self {
            Choice::Auto if Device::Cuda(0).check().is_ok() => Ok(Device::Cuda(0)),
            Choice::Auto => Ok(Device::Cpu),
            Choice::Is(device) => device.check().map(|()| device),
        }
    }
}

impl Device {
    /// Whether this program can compute on CUDA devices at all.
    pub const CUDA: bool = cfg!(feature = "cuda");

    /// The CUDA devices of this machine.
    ///
    /// # Errors
    /// [`crate::Error::Device`] saying why there can be none: this program was built without, or there is no driver.
    pub fn all_cuda() -> Result<Vec<Device>> {
        Ok((0..cuda::count()?).map(Device::Cuda).collect())
    }

    /// Whether this program can compute on it here, as far as that is known without opening it.
    ///
    /// # Errors
    /// [`crate::Error::Device`] saying why not: built without, no driver, no such device, one too old, no compiler of kernels.
    pub fn check(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(ordinal) => cuda::check(ordinal),
        }
    }

    /// Its name and, of a CUDA device, its model.
    pub fn describe(self) -> String {
        match self {
            Device::Cpu => self.to_string(),
            Device::Cuda(ordinal) => match cuda::name(ordinal) {
                Ok(model) => format!("{self} ({model})"),
                Err(_) => self.to_string(),
            },
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Auto => f.write_str("auto"),
            Choice::Is(device) => device.fmt(f),
        }
    }
}

/// A text that is no device.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no device: write auto, cpu, cuda, or cuda:N for the CUDA device number N, counted from 0")]
pub struct NoDevice(String);

impl FromStr for Choice {
    type Err = NoDevice;

    fn from_str(text: &str) -> std::result::Result<Self, NoDevice> {
        let no_device = || NoDevice(text.into());
        let number = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).ok_or_else(no_device)
        };
        match text {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Is(Device::Cpu)),
            "cuda" => Ok(Choice::Is(Device::Cuda(0))),
            _ => {
                let digits = text.strip_prefix("cuda:").ok_or_else(no_device)?;
                number(digits).map(|ordinal| Choice::Is(Device::Cuda(ordinal)))
            }
        }
    }
}

impl TryFrom<String> for Choice {
    type Error = NoDevice;

    fn try_from(text: String) -> std::result::Result<Self, NoDevice> {
        text.parse()
    }
}

impl From<Choice> for String {
    fn from(choice: Choice) -> String {
        choice.to_string()
    }
}

/// Runs an expression with `$dev` standing for `$device`, opened for the ring `$R`: the one place where a device becomes
/// a type. The expression is a `Result` that can take over a [`crate::Error`].
#[cfg(feature = "cuda")]
#[macro_export]
macro_rules! with_device {
    ($device:expr, $R:ty, $dev:ident => $body:expr) => {
        match $device {
            $crate::backend::Device::Cpu => {
                let $dev = $crate::Cpu::<$R>::new();
                $body
            }
            $crate::backend::Device::Cuda(ordinal) => match $crate::backend::Cuda::<$R>::open(ordinal) {
                Ok($dev) => $body,
                Err(e) => Err(e.into()),
            },
        }
    };
}

/// Runs an expression with `$dev` standing for `$device`, opened for the ring `$R`: the one place where a device becomes
/// a type. The expression is a `Result` that can take over a [`crate::Error`].
#[cfg(not(feature = "cuda"))]
#[macro_export]
macro_rules! with_device {
    ($device:expr, $R:ty, $dev:ident => $body:expr) => {
        match $device {
            $crate::backend::Device::Cpu => {
                let $dev = $crate::Cpu::<$R>::new();
                $body
            }
            // never what `Choice::resolve` gives in such a program
            $crate::backend::Device::Cuda(_) => Err($crate::backend::cuda::missing().into()),
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn texts_become_choices_and_back() {
        let cuda = |ordinal| Choice::Is(Device::Cuda(ordinal));
        for (text, choice) in [
            ("auto", Choice::Auto),
            ("cpu", Choice::Is(Device::Cpu)),
            ("cuda:0", cuda(0)),
            ("cuda:17", cuda(17)),
        ] {
            assert_eq!((text.parse(), choice.to_string().as_str()), (Ok(choice), text));
            let json = serde_json::to_string(&choice).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Choice>(&json).unwrap(), choice);
        }
        assert_eq!("cuda".parse(), Ok(cuda(0)));
        assert_eq!(Choice::default(), Choice::Auto);
    }

    #[test]
    fn other_texts_are_refused_with_what_to_write() {
        let huge = format!("cuda:{}0", usize::MAX);
        for text in ["", "gpu0", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda:1 ", "cuda0", &huge] {
            let refused = text.parse::<Choice>().unwrap_err().to_string();
            assert!(refused.starts_with(&format!("`{text}` is no device")), "{refused}");
            assert!(refused.contains("cuda:N"), "{refused}");
            assert!(serde_json::from_value::<Choice>(text.into()).is_err());
        }
    }

    #[test]
    fn a_device_is_there_or_it_is_said_why_not() {
        assert_eq!(Choice::Is(Device::Cpu).resolve().unwrap(), Device::Cpu);
        let far = Choice::Is(Device::Cuda(usize::MAX)).resolve();
        assert!(matches!(far, Err(Error::Device(why)) if why.contains("; ")));
        let first = Choice::Auto.resolve().unwrap();
        assert_eq!(first == Device::Cuda(0), Device::Cuda(0).check().is_ok());
        assert_eq!(first.describe().split(' ').next(), Some(&*first.to_string()));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_program_without_cuda_computes_on_the_cpu_and_says_how_to_change_that() {
        assert_eq!(Choice::Auto.resolve().unwrap(), Device::Cpu);
        let Err(Error::Device(why)) = Choice::Is(Device::Cuda(0)).resolve() else { panic!("no CUDA here") };
        assert!(why.contains("--features cuda") && why.contains("--device cpu"), "{why}");
        let run = |device: Device| -> Result<usize> {
            crate::with_device!(device, u32, dev => Ok(crate::Backend::len(&dev, &vec![0; 3])))
        };
        assert_eq!(run(Device::Cpu).unwrap(), 3);
        assert!(matches!(run(Device::Cuda(0)), Err(Error::Device(_))));
    }
}
