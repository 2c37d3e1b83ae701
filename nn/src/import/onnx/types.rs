//! Element types of tensors, and what each does to a number that it cannot hold.

/// Types of numbers. Numbers of the specification's `TensorProto.DataType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Bool,
    /// Bits of a signed integer.
    Int(u32),
    /// Bits of an unsigned integer.
    Uint(u32),
    Float16,
    BFloat16,
    Float,
    Double,
}

/// Names of the specification, by number.
const NAMES: [&str; 17] = [
    "UNDEFINED",
    "FLOAT",
    "UINT8",
    "INT8",
    "UINT16",
    "INT16",
    "INT32",
    "INT64",
    "STRING",
    "BOOL",
    "FLOAT16",
    "DOUBLE",
    "UINT32",
    "UINT64",
    "COMPLEX64",
    "COMPLEX128",
    "BFLOAT16",
];

/// The name of a type by its number.
pub(super) fn name(number: i64) -> String {
    let known = usize::try_from(number).ok().and_then(|i| NAMES.get(i));
    known.map_or(format!("type {number}"), |name| name.to_string())
}

impl Type {
    pub(super) fn numbered(number: i64) -> Option<Type> {
        Some(match number {
            1 => Type::Float,
            2 => Type::Uint(8),
            3 => Type::Int(8),
            4 => Type::Uint(16),
            5 => Type::Int(16),
            6 => Type::Int(32),
            7 => Type::Int(64),
            9 => Type::Bool,
            10 => Type::Float16,
            11 => Type::Double,
            12 => Type::Uint(32),
            13 => Type::Uint(64),
            16 => Type::BFloat16,
            _ => return None,
        })
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Type::Float16 | Type::BFloat16 | Type::Float | Type::Double)
    }

    /// Bytes of one element in a file.
    pub(super) fn bytes(self) -> usize {
        match self {
            Type::Bool => 1,
            Type::Int(bits) | Type::Uint(bits) => bits as usize / 8,
            Type::Float16 | Type::BFloat16 => 2,
            Type::Float => 4,
            Type::Double => 8,
        }
    }

    /// The nearest number of a float type, ties to even.
    pub(super) fn round(self, v: f64) -> f64 {
        match self {
            Type::Float16 => nearest(v, 10, -14, 65504.0),
            Type::BFloat16 => nearest(v, 7, -126, f64::from(f32::from_bits(0x7f7f_0000))),
            Type::Float => f64::from(v as f32),
            _ => v,
        }
    }

    /// The number of an integer type that has the same low bits; any but 0 is `true`.
    pub(super) fn wrap(self, v: i64) -> i64 {
        match self {
            Type::Bool => i64::from(v != 0),
            Type::Int(bits) if bits < 64 => v << (64 - bits) >> (64 - bits),
            Type::Uint(bits) if bits < 64 => v & ((1 << bits) - 1),
            _ => v,
        }
    }
}

/// `v` with so many binary digits behind the first; exponents end at `least`, numbers at `largest`.
fn nearest(v: f64, digits: i32, least: i32, largest: f64) -> f64 {
    if v == 0.0 || !v.is_finite() {
        return v;
    }
    let exponent = (v.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let quantum = 2f64.powi(exponent.max(least) - digits);
    let rounded = (v / quantum).round_ties_even() * quantum;
    if rounded.abs() > largest { f64::INFINITY.copysign(v) } else { rounded }
}

/// The value of a FLOAT16's bits.
pub(super) fn from_half(bits: u16) -> f32 {
    let (exponent, digits) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        0 => digits * 2f32.powi(-24),
        31 if digits == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + digits) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// The value of a BFLOAT16's bits: the upper half of a FLOAT.
pub(super) fn from_brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_what_their_bits_say_and_rounding_keeps_them() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(from_half(bits), value);
        }
        for bits in 0..=u16::MAX {
            let (half, brain) = (f64::from(from_half(bits)), f64::from(from_brain(bits)));
            assert!(Type::Float16.round(half) == half || half.is_nan());
            assert!(Type::BFloat16.round(brain) == brain || brain.is_nan());
        }
        assert_eq!(Type::Float16.round(1.0 + 2f64.powi(-11)), 1.0);
        assert_eq!(Type::Float16.round(1.0 + 3.0 * 2f64.powi(-11)), 1.0 + 2f64.powi(-9));
        assert_eq!(Type::Float16.round(65520.0), f64::INFINITY);
        assert_eq!(Type::Float16.round(2f64.powi(-26)), 0.0);
        assert_eq!(Type::BFloat16.round(1.003), 1.0);
    }

    #[test]
    fn integers_wrap_to_their_width() {
        assert_eq!(Type::Int(8).wrap(200), -56);
        assert_eq!(Type::Uint(8).wrap(-1), 255);
        assert_eq!(Type::Uint(32).wrap(-1), i64::from(u32::MAX));
        assert_eq!(Type::Int(64).wrap(i64::MIN), i64::MIN);
        assert_eq!(Type::Bool.wrap(-3), 1);
        assert_eq!((name(16), name(17), name(-1)), ("BFLOAT16".into(), "type 17".into(), "type -1".into()));
    }
}
