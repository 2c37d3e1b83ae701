use super::*;

fn found(text: &str, part: Option<&str>) -> (usize, Vec<f64>) {
    let table = read(text.as_bytes(), part, Some).unwrap_or_else(|e| panic!("{text:?}: {e}"));
    (table.columns, table.values)
}
fn why(text: &str, part: Option<&str>) -> String {
    read(text.as_bytes(), part, Some).expect_err(text).to_string()
}

#[test]
fn separators_quotes_and_ends_of_lines() {
    for text in [
        "1,2.5\n-3e0,4\n",
        "1;2.5\r\n-3;4",
        "1\t2.5\n\n-3\t4\n",
        "1 2.5\n-3 4\n",
        "  1   2.5\n -3   4\n\n",
        "\"1\",\"2.5\"\n\"-3\",\"4\"\n",
        "\u{feff}1, 2.5\n-3 , 4\n",
        "a,b\n1,2.5\n-3,4\n",
        "\"a;x\",\"b\"\n1,2.5\n-3,4\n",
        "# a b\n1 2.5\n-3 4\n",
        "# a,b\n1,2.5\n-3,4\n",
        ",a,b\n0,1,2.5\n1,-3,4\n",
        "\"\",\"a\",\"b\"\n\"one\",1,2.5\n\"two\",-3,4\n",
        ",0,1\n0,1,2.5\n1,-3,4\n",
    ] {
        assert_eq!(found(text, None), (2, vec![1.0, 2.5, -3.0, 4.0]), "{text:?}");
    }
}

#[test]
fn one_column_needs_no_separator() {
    for text in ["3\n1\n", "label\n3\n1\n", "\"label\"\n3\n1\n", "3\r\n\r\n1"] {
        assert_eq!(found(text, None), (1, vec![3.0, 1.0]), "{text:?}");
    }
    assert_eq!(found("True,FALSE\nfalse,1\n", None).1, [1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn columns_are_taken_by_name_and_number() {
    let text = "label,x1,x2,x-3\n7,1,2,3\n8,4,5,6\n";
    for (part, want) in [
        ("label", (1, vec![7.0, 8.0])),
        ("x-3", (1, vec![3.0, 6.0])),
        ("2-4", (3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("x2,1", (2, vec![2.0, 7.0, 5.0, 8.0])),
        (" 4 , label", (2, vec![3.0, 7.0, 6.0, 8.0])),
    ] {
        assert_eq!(found(text, Some(part)), want, "{part}");
    }
    for part in ["0", "5", "4-2", "2-9", "x3", "", "1,,2"] {
        let said = why(text, Some(part));
        assert!(said.contains("columns are 4: label, x1, x2, x-3"), "{said}");
    }
    assert!(why("1,2\n", Some("a")).contains("without names"));
    // A column that is not taken may hold anything.
    assert_eq!(found("name,x\nann,1\n,2\n", Some("x")).1, [1.0, 2.0]);
}

#[test]
fn a_cell_that_is_no_number_is_named_with_the_cause() {
    for (text, want) in [
        ("age,height\n1,2\n3,tall\n", "line 3, column 2 (`height`): `tall` is no number"),
        ("1,2\n3,\n", "line 2, column 2: the cell is empty: a missing value"),
        ("1,2\n\n3,NaN\n", "line 3, column 2: `NaN`: a missing value"),
        ("1,2\nN/A,3\n", "missing value"),
        ("1;2\n3,5;4\n", "`3,5` is no number; write decimals with a point"),
        ("1,2\n3\n", "line 2: 1 cells, and 2 in the first line"),
        ("1,2\ninf,1\n", "line 2, column 1"),
        ("1,x,3\n4,5,6\n", "line 1, column 2: `x` is no number"),
        ("", "there is no row"),
        ("\n \n", "there is no row"),
        ("0,1,2,3,4,5,6,7\n1,1,1,1,1,1,1,1\n", "if these are names"),
        ("{\"a\": [1, 2]}\n", "no row of numbers below the names"),
        ("a,b\n", "no row of numbers below the names a, b"),
    ] {
        let said = why(text, None);
        assert!(said.contains(want), "wanted {want:?}, found {said}");
    }
    // A record is never taken for names.
    assert!(why("NA,NA\n1,2\n", None).contains("line 1"));
    assert!(why("?\n1\n", None).contains("missing value"));
    let long = why(&format!("1,2\n{},3\n", "x".repeat(1000)), None);
    assert!(long.len() < 200, "{long}");
}

#[test]
fn what_the_caller_refuses_is_refused_with_its_place() {
    let whole = |v: f64| (v.fract() == 0.0).then_some(v as u32);
    let said = read(b"1\n2.5\n", None, whole).unwrap_err().to_string();
    assert!(said.contains("line 2, column 1") && said.contains("2.5"), "{said}");
}

#[test]
fn text_is_told_from_bytes() {
    assert!(is_text("a\tb\r\nü".as_bytes()));
    for bytes in [&b""[..], b"a\0", b"\x93NUMPY", &[9, 200, 200]] {
        assert!(!is_text(bytes));
    }
}
