//! Deals into a folder: killed, resumed, repeated, with halves moved away.

use super::*;

#[test]
fn a_deal_into_a_folder_goes_on_where_it_stopped() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let mut seen = vec![];
    let first = into_folder(&order, &folder, false, &mut |done| seen.push(done)).unwrap();
    assert_eq!((first.new, first.old, &seen[..]), (6, 0, &[4, 8, 12, 16, 20, 23][..]));
    let halves = [first.folders[0].as_path(), first.folders[1].as_path()];
    check(halves, first.key_set);
    let before = names(halves[0], first.key_set);

    // Half of segment 2 is lost: both halves are dealt again, the others stay.
    fs::remove_file(segment_file(&halves[1].join(first.key_set.to_string()), 2)).unwrap();
    let second = into_folder(&order, &folder, true, &mut quiet()).unwrap();
    assert_eq!((second.key_set, second.new, second.old), (first.key_set, 1, 5));
    check(halves, first.key_set);
    let after = names(halves[0], first.key_set);
    assert_eq!(after, names(halves[1], first.key_set));
    let changed: Vec<usize> = (0..6).filter(|&s| before[s] != after[s]).collect();
    assert_eq!(changed, [2]);
}

/// Every file below a folder with its content.
fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = vec![];
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => all.extend(everything(&entry)),
            false => all.push((entry.clone(), fs::read(&entry).unwrap())),
        }
    }
    all.sort();
    all
}

/// Killed anywhere while the key set was begun: after its name was noted, and after either half's ledger or `set.key`.
#[test]
fn what_was_killed_at_the_very_beginning_is_begun_again() {
    for seeds in [SeedSource::InsecureTest(5), SeedSource::Os] {
        for gone in [&["p0", "p1"][..], &["p1"], &["p0/set.key", "p1/set.key"], &["p1/set.key"], &[]] {
            let root = TempDir::new().unwrap();
            let folder = root.path().join("keys");
            let order = order(seeds);
            let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
            let set = first.folders.each_ref().map(|half| half.join(first.key_set.to_string()));
            for segment in 0..6 {
                set.iter().for_each(|set| fs::remove_file(segment_file(set, segment)).unwrap());
            }
            for gone in gone {
                let half = &set[usize::from(gone.starts_with("p1"))];
                match gone.split_once('/') {
                    Some((_, file)) => fs::remove_file(half.join(file)).unwrap(),
                    None => fs::remove_dir_all(half).unwrap(),
                }
            }
            if *gone == ["p1"] {
                fs::remove_file(set[0].join("set.key")).unwrap();
            }
            renote(&folder, "\"finished\": true", "\"finished\": false");
            renote(&folder, "\"begun\": true", "\"begun\": false");
            let second = into_folder(&order, &folder, true, &mut quiet()).unwrap();
            assert_eq!((second.key_set, second.new), (first.key_set, 6), "{gone:?}");
            check(second.folders.each_ref().map(PathBuf::as_path), first.key_set);
            assert_eq!(cut_of(&folder).unwrap(), order.cut);
        }
    }
}

/// A half that was moved away, as the tool says, may be in use, and so may the one that stayed: neither is dealt anew.
#[test]
fn repro_a_half_that_was_moved_away_is_not_dealt_anew() {
    for (finished, moved) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        for whole in [true, false] {
            let root = TempDir::new().unwrap();
            let folder = root.path().join("keys");
            let order = order(SeedSource::Os);
            let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
            if !finished {
                renote(&folder, "\"finished\": true", "\"finished\": false");
            }
            // the folder of the party, or what is in it
            let half = &first.folders[moved];
            let away = if whole { half.clone() } else { half.join(first.key_set.to_string()) };
            fs::rename(away, root.path().join("elsewhere")).unwrap();
            let before = everything(&folder);
            let failure = into_folder(&order, &folder, true, &mut quiet()).unwrap_err();
            assert_eq!(failure.code(), ExitCode::System);
            let text = failure.to_string();
            assert!(text.contains(&format!("P{moved}'s half")) && text.contains("moved away"), "{text}");
            assert!(everything(&folder) == before, "nothing is touched");
        }
    }
}

/// A folder of a release that noted neither key set nor end: what is there in one half only is left alone too.
#[test]
fn notes_of_earlier_releases_are_read() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    let plan: String = order.plan.digest().unwrap().0.iter().map(|byte| format!("{byte:02x}")).collect();
    let old =
        format!("{{\"plan\": \"{plan}\", \"images\": 23, \"segment_images\": 4, \"delivered\": false}}");
    fs::write(folder.join("deal.json"), &old).unwrap();
    let refused = into_folder(&order, &folder, false, &mut quiet());
    assert_eq!(code(&refused), Some(ExitCode::System));
    fs::remove_file(segment_file(&first.folders[1].join(first.key_set.to_string()), 2)).unwrap();
    let second = into_folder(&order, &folder, true, &mut quiet()).unwrap();
    assert_eq!((second.key_set, second.new), (first.key_set, 1));
    let third = into_folder(&order, &folder, true, &mut quiet()).unwrap();
    assert_eq!((third.key_set, third.new), (first.key_set, 0));
    fs::write(folder.join("deal.json"), &old).unwrap();
    fs::rename(&first.folders[1], root.path().join("elsewhere")).unwrap();
    let before = everything(&folder);
    assert_eq!(code(&into_folder(&order, &folder, true, &mut quiet())), Some(ExitCode::System));
    assert!(everything(&folder) == before);
}

#[test]
fn a_finished_deal_makes_room_for_the_next_one() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    let kept = everything(&first.folders[0]);
    let next = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    assert_ne!(next.key_set, first.key_set);
    let halves = next.folders.each_ref().map(PathBuf::as_path);
    [first.key_set, next.key_set].into_iter().for_each(|id| check(halves, id));
    let now = everything(&first.folders[0]);
    assert!(kept.iter().all(|file| now.contains(file)), "the first one is as it was");
    // resuming means the last one, although the first one is here too
    fs::remove_file(segment_file(&halves[0].join(next.key_set.to_string()), 3)).unwrap();
    let resumed = into_folder(&order, &folder, true, &mut quiet()).unwrap();
    assert_eq!((resumed.key_set, resumed.new), (next.key_set, 1));
    // and with both halves moved away there is nothing to go on with, but room
    next.folders.iter().for_each(|half| fs::rename(half, half.with_extension("moved")).unwrap());
    let failure = into_folder(&order, &folder, true, &mut quiet()).unwrap_err();
    assert!(failure.to_string().contains("without --resume"), "{failure}");
    let third = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    assert_eq!(third.new, 6);
    // A test seed names the same key set again; the one that is there stays.
    let test = Order { seeds: SeedSource::InsecureTest(9), ..order };
    into_folder(&test, &folder, false, &mut quiet()).unwrap();
    let before = everything(&folder.join("p0"));
    assert_eq!(code(&into_folder(&test, &folder, false, &mut quiet())), Some(ExitCode::System));
    assert!(everything(&folder.join("p0")) == before);
}

#[test]
fn another_deal_in_the_folder_is_refused() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let code = |order: &Order, folder: &Path, resume| {
        into_folder(order, folder, resume, &mut quiet()).map(|dealt| dealt.new).map_err(|f| f.code())
    };
    assert_eq!(code(&order, &folder, true), Err(ExitCode::Usage), "nothing to resume");
    assert_eq!(code(&order, &folder, false), Ok(6));
    let other = Order { plan: plan("b"), ..order.clone() };
    assert_eq!(code(&other, &folder, true), Err(ExitCode::PlanMismatch));
    let other = Order { cut: Cut::new(24, 4).unwrap(), ..order.clone() };
    assert_eq!(code(&other, &folder, true), Err(ExitCode::Usage));
    let other = Order { seeds: SeedSource::InsecureTest(1), ..order.clone() };
    assert_eq!(code(&other, &folder, true), Err(ExitCode::Usage));
    renote(&folder, "\"finished\": true", "\"finished\": false");
    assert_eq!(
        code(&order, &folder, false),
        Err(ExitCode::System),
        "no second deal before the first is through"
    );
    fs::write(folder.join("deal.json"), "{").unwrap();
    assert_eq!(code(&order, &folder, true), Err(ExitCode::System));
}

/// The folder of a deal with --out is no work folder of a delivery, which would be erased at the end.
#[test]
fn repro_halves_in_a_folder_are_not_delivered_and_erased() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("keys");
    let order = order(SeedSource::Os);
    let first = into_folder(&order, &folder, false, &mut quiet()).unwrap();
    let before = everything(&folder);
    for resume in [false, true] {
        assert!(to_parties(&order, &folder, resume, &nowhere(), &mut quiet()).is_err());
    }
    assert!(everything(&folder) == before);
    // Not even where the note says so: a party has used one half, or runs on it.
    renote(&folder, "\"folder\"", "\"network\"");
    renote(&folder, "\"delivered\": false", "\"delivered\": true");
    let set = set_of(&first.folders[1], PartyId::P1, first.key_set);
    let mut ledger = set.ledger().unwrap();
    let running = to_parties(&order, &folder, true, &nowhere(), &mut quiet());
    assert_eq!(code(&running), Some(ExitCode::System));
    ledger.advance_to(1).unwrap();
    drop(ledger);
    let used = to_parties(&order, &folder, true, &nowhere(), &mut quiet());
    assert_eq!(code(&used), Some(ExitCode::System));
    assert!(set.verify().unwrap().iter().all(|(_, whole)| whole.is_ok()));
}

/// More keys than any disk holds: refused before anything is made.
#[test]
fn keys_that_do_not_fit_on_the_disk_are_not_begun() {
    let root = TempDir::new().unwrap();
    let order = Order { cut: Cut::new(1 << 42, 1 << 20).unwrap(), ..order(SeedSource::Os) };
    let folder = root.path().join("keys");
    for resume in [false, true] {
        let failure = into_folder(&order, &folder, resume, &mut quiet()).unwrap_err();
        assert_eq!(failure.code(), if resume { ExitCode::Usage } else { ExitCode::System });
        assert!(!folder.exists());
        if !resume {
            assert!(failure.to_string().contains(" MB are free"), "{failure}");
        }
    }
}
