//! What an audit found: said to the data owner, layer by layer, with the numbers of the images.

use super::super::output::Output;
use crate::exit::{ExitCode, Failure, Phase};
use std::collections::BTreeSet;
use twoply_nn::program::RangeAudit;

/// Images of a layer that are named.
const NAMED: usize = 8;

/// Warns of every layer with values near the end of their range or beyond it. The answers are printed by then.
///
/// # Errors
/// 10 when there is one, unless that is `allowed`. Images are numbered behind `skipped` others.
pub(super) fn judge(
    audit: &RangeAudit,
    (allowed, skipped): (bool, usize),
    out: &Output,
) -> Result<(), Failure> {
    let Some((first, _)) = audit.found().next() else { return Ok(()) };
    let mut images = BTreeSet::new();
    for (layer, found) in audit.found() {
        let found: Vec<_> = found.into_iter().map(|(image, count)| (image + skipped, count)).collect();
        out.warn(line(layer, &found));
        images.extend(found.iter().map(|(image, _)| *image));
    }
    if allowed {
        return Ok(());
    }
    let what = format!(
        "values of {} came near the end of their range or left it, first in layer `{first}`: the answers to them may be \
         wrong",
        count(images.len(), "image")
    );
    Err(Failure::new(ExitCode::Range, what).during(Phase::Output).remedy(
        "are these images like the plan's samples, and on their scale? plan with samples like them, or with --ring 64; \
         --allow-out-of-range takes the answers as they are",
    ))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// One layer in words; images are numbered from 0.
fn line(layer: &str, found: &[(usize, u64)]) -> String {
    let all: u64 = found.iter().map(|(_, n)| n).sum();
    let named = found.iter().take(NAMED).map(|(image, n)| format!("{image} ({n})")).collect::<Vec<_>>();
    let more = found.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "audit: layer `{layer}`: {} near the end of their range or beyond it, in image {}{more}",
        count(usize::try_from(all).unwrap_or(usize::MAX), "value"),
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_layers_images_and_counts() {
        assert_eq!(
            line("fc1", &[(3, 1)]),
            "audit: layer `fc1`: 1 value near the end of their range or beyond it, in image 3 (1)"
        );
        let many: Vec<(usize, u64)> = (0..11).map(|i| (i, 2)).collect();
        let said = line("conv", &many);
        assert!(said.contains("22 values") && said.ends_with("7 (2) and 3 more"), "{said}");
    }
}
