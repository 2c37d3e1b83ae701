//! Who brings what, as flags.

use twoply_nn::train::{Brings, Share};

/// Reads `NAME=rows:N`, `NAME=columns:A..B`, `NAME=columns:A..B+targets` or `NAME=start`.
pub(super) fn share(text: &str) -> Result<Share, String> {
    let forms = "NAME=rows:N, NAME=columns:A..B, NAME=columns:A..B+targets, or NAME=start";
    let bad = || format!("`{text}` is none of {forms}");
    let (owner, what) = text.split_once('=').ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    let brings = match what.split_once(':') {
        None if what == "start" => Brings::Start,
        Some(("rows", rows)) => Brings::Rows(number(rows)?),
        Some(("columns", columns)) => {
            let (range, targets) = match columns.strip_suffix("+targets") {
                Some(range) => (range, true),
                None => (columns, false),
            };
            let (from, to) = range.split_once("..").ok_or_else(bad)?;
            Brings::Columns { inputs: [number(from)? as usize, number(to)? as usize], targets }
        }
        _ => return Err(bad()),
    };
    Ok(Share { owner: owner.into(), brings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read() {
        let read = |text| share(text).unwrap().brings;
        assert_eq!(read("a=rows:30"), Brings::Rows(30));
        assert_eq!(read("a=columns:0..12"), Brings::Columns { inputs: [0, 12], targets: false });
        assert_eq!(read("a=columns:12..30+targets"), Brings::Columns { inputs: [12, 30], targets: true });
        assert_eq!(read("a=start"), Brings::Start);
        for bad in ["a", "a=", "a=rows", "a=rows:-1", "a=columns:3", "a=columns:1..x", "a=begin", "a=start:1"]
        {
            assert!(share(bad).unwrap_err().contains("NAME=rows:N"), "{bad}");
        }
    }
}
