//! One plain body, compiled once per rung: the compiler vectorises it with the instructions each rung has.

/// Defines `name(isa, arguments..)` from a body without intrinsics. The body must be plain loops and `#[inline(always)]`
/// helpers: a closure in it may be compiled apart, without the rung's instructions.
macro_rules! rungs {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name $(<$($g: $bound),+>)? (isa: $crate::backend::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn portable $(<$($g: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
            fn avx2 $(<$($g: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
                portable($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,bmi2,popcnt")]
            fn avx512 $(<$($g: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
                portable($($arg),*)
            }

            debug_assert!(isa <= $crate::backend::Isa::detected());
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a rung is only ever named where its instruction sets were detected (see `Isa::force`).
                $crate::backend::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::backend::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => portable($($arg),*),
            }
        }
    };
}
pub(super) use rungs;
