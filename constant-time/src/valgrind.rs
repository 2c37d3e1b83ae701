//! Requests to valgrind: a sequence of rotations without effect on a processor, which its translator recognises
//! ("The Client Request mechanism", valgrind manual, section 3.1). The numbers are those of `valgrind.h` and `memcheck.h`.
#![allow(unsafe_code)] // the sequence

const RUNNING_ON_VALGRIND: usize = 0x1001;
const COUNT_ERRORS: usize = 0x1201;
const MAKE_MEM_UNDEFINED: usize = 0x4d43_0001;
const MAKE_MEM_DEFINED: usize = 0x4d43_0002;
const GET_VBITS: usize = 0x4d43_0008;

fn request(what: usize, a: usize, b: usize, c: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let args = [what, a, b, c, 0, 0];
        let mut result = 0usize;
        // SAFETY: rotations by 128 bits in all and an exchange of a register with itself; valgrind reads `args`.
        unsafe {
            std::arch::asm!(
                "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
                in("rax") args.as_ptr(), inout("rdx") result, options(nostack),
            );
        }
        result
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (what, a, b, c);
        0
    }
}

/// Whether this process runs under valgrind.
pub fn running() -> bool {
    request(RUNNING_ON_VALGRIND, 0, 0, 0) > 0
}

/// Errors reported so far: branches and addresses that depended on undefined bits.
pub fn errors() -> usize {
    request(COUNT_ERRORS, 0, 0, 0)
}

/// From here on these bits are secret.
pub fn secret<T>(v: &mut [T]) {
    request(MAKE_MEM_UNDEFINED, v.as_mut_ptr() as usize, size_of_val(v), 0);
}

/// From here on these bits are public: they were opened, or are about to be compared with what they should be. Until
/// here they must have been secret, at least in part: if not, valgrind has lost track and proves nothing.
pub fn public<T>(v: &[T]) {
    let (at, len) = (v.as_ptr() as usize, size_of_val(v));
    let mut undefined = vec![0u8; len];
    request(GET_VBITS, at, undefined.as_mut_ptr() as usize, len);
    assert!(len == 0 || std::hint::black_box(undefined).iter().any(|b| *b != 0), "computed from secrets");
    request(MAKE_MEM_DEFINED, at, len, 0);
}
