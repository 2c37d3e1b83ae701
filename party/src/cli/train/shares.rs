//! Who brings what, as flags.

use twoply_nn::train::{Brings, Figure, Share, Wanted};

/// Reads `NAME=rows:N`, `NAME=held:N`, `NAME=columns:A..B`, `NAME=columns:A..B+targets` or `NAME=start`.
pub(super) fn share(text: &str) -> Result<Share, String> {
    let forms = "NAME=rows:N, NAME=held:N, NAME=columns:A..B, NAME=columns:A..B+targets, or NAME=start";
    let bad = || format!("`{text}` is none of {forms}");
    let (owner, what) = text.split_once('=').ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    let brings = match what.split_once(':') {
        None if what == "start" => Brings::Start,
        Some(("rows", rows)) => Brings::Rows(number(rows)?),
        Some(("held", rows)) => Brings::Held(number(rows)?),
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

/// Reads `FIGURE=NAME` or `FIGURE=NAME:STEPS`.
pub(super) fn reveal(text: &str) -> Result<Wanted, String> {
    let figures = Figure::ALL.map(Figure::name).join(", ");
    let bad = || format!("`{text}` is no FIGURE=NAME or FIGURE=NAME:STEPS; figures are {figures}");
    let (figure, to) = text.split_once('=').ok_or_else(bad)?;
    let figure = Figure::ALL.into_iter().find(|f| f.name() == figure).ok_or_else(bad)?;
    let (to, every) = match to.split_once(':') {
        Some((to, steps)) => (to, Some(steps.parse().map_err(|_| bad())?)),
        None => (to, None),
    };
    match to.is_empty() {
        true => Err(bad()),
        false => Ok(Wanted { figure, to: to.into(), every }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reveals_are_read() {
        let of = |to: &str, every| Wanted { figure: Figure::Accuracy, to: to.into(), every };
        assert_eq!(reveal("accuracy=judge"), Ok(of("judge", None)));
        assert_eq!(reveal("accuracy=judge:50"), Ok(of("judge", Some(50))));
        for bad in ["accuracy", "accuracy=", "accuracy=:5", "accuracy=a:", "accuracy=a:x", "weights=a", ""] {
            assert!(reveal(bad).unwrap_err().contains("FIGURE=NAME:STEPS"), "{bad}");
        }
    }

    #[test]
    fn shares_are_read() {
        let read = |text| share(text).unwrap().brings;
        assert_eq!(read("a=rows:30"), Brings::Rows(30));
        assert_eq!(read("a=held:5"), Brings::Held(5));
        assert_eq!(read("a=columns:0..12"), Brings::Columns { inputs: [0, 12], targets: false });
        assert_eq!(read("a=columns:12..30+targets"), Brings::Columns { inputs: [12, 30], targets: true });
        assert_eq!(read("a=start"), Brings::Start);
        for bad in ["a", "a=", "a=rows", "a=rows:-1", "a=columns:3", "a=columns:1..x", "a=begin", "a=start:1"]
        {
            assert!(share(bad).unwrap_err().contains("NAME=rows:N"), "{bad}");
        }
    }
}
