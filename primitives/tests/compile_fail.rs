//! What must not compile: secrecy as types, with the compiler's reason.

#[test]
fn secrets_cannot_be_used_twice_read_or_made_up() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
