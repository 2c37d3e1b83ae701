use super::*;
use std::fs;
use twoply_nn::Normalise;

fn input() -> Input {
    Input {
        name: "x".into(),
        shape: vec![1, 1, 2],
        normalise: Normalise::default(),
        layout: Default::default(),
    }
}

fn idx(values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    [values.len() as u32 / 2, 1, 2].iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn read(path: &Path) -> Result<Inputs, Failure> {
    read_images(path, &input(), false)
}
fn why(path: &Path) -> String {
    let failure = read(path).unwrap_err();
    assert_eq!(failure.code(), ExitCode::Model);
    failure.to_string()
}

#[test]
fn a_folder_is_read_in_natural_order_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("b10.idx"), idx(&[7, 8])).unwrap();
    fs::write(folder.path().join("b9.idx"), idx(&[3, 4, 5, 6])).unwrap();
    fs::write(folder.path().join("a.idx"), idx(&[1, 2])).unwrap();
    for junk in [".DS_Store", "Thumbs.db"] {
        fs::write(folder.path().join(junk), b"\0\0").unwrap();
    }
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/c.idx"), idx(&[9, 9])).unwrap();
    let all = read(folder.path()).unwrap();
    assert_eq!((all.images, all.kind), (4, Kind::Bytes));
    assert_eq!(all.values, [1., 2., 3., 4., 5., 6., 7., 8.]);
    assert_eq!(all.names.as_ref().unwrap()[..], ["a.idx", "b9.idx[0]", "b9.idx[1]", "b10.idx"]);
    assert!(all.labels(&Meaning::Classes { classes: 2 }).is_none());
    let two = all.clone().from(1).unwrap().first(2);
    assert_eq!((two.images, &two.values[..]), (2, &[3., 4., 5., 6.][..]));
    assert_eq!(two.names.unwrap(), ["b9.idx[0]", "b9.idx[1]"]);
    assert_eq!(all.first(9).images, 4);
}

#[test]
fn subfolders_alone_are_classes() {
    let folder = tempfile::tempdir().unwrap();
    for (class, values) in [("cat", [1, 2]), ("dog", [3, 4]), ("ant", [5, 6])] {
        fs::create_dir(folder.path().join(class)).unwrap();
        fs::write(folder.path().join(class).join("1.idx"), idx(&values)).unwrap();
    }
    fs::write(folder.path().join("cat/0.idx"), idx(&[7, 8])).unwrap();
    let all = read(folder.path()).unwrap();
    assert_eq!(all.values, [5., 6., 7., 8., 1., 2., 3., 4.]);
    assert_eq!(all.names.as_ref().unwrap()[..], ["ant/1.idx", "cat/0.idx", "cat/1.idx", "dog/1.idx"]);
    let labels = |inputs: &Inputs, classes| inputs.labels(&Meaning::Classes { classes });
    assert_eq!(labels(&all, 3).unwrap().0, [0, 1, 1, 2]);
    assert_eq!(labels(&all, 10), None, "ten classes have other names");
    assert_eq!(labels(&all.from(2).unwrap().first(1), 3).unwrap().0, [1]);
    fs::create_dir(folder.path().join("dog/puppies")).unwrap();
    let said = why(folder.path());
    assert!(said.contains("dog/puppies") && said.contains("a subfolder of a class"), "{said}");
}

#[test]
fn the_file_that_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(why(folder.path()).contains("there are none in the folder"));
    fs::write(folder.path().join("1.idx"), idx(&[1, 2])).unwrap();
    fs::write(folder.path().join("2.txt"), "read me\n").unwrap();
    let said = why(folder.path());
    assert!(said.contains("2.txt") && said.contains("no row of numbers"), "{said}");
    fs::write(folder.path().join("2.txt"), "1.5,2\n").unwrap();
    let said = why(folder.path());
    assert!(said.contains("2.txt") && said.contains("do not mix"), "{said}");
    fs::write(folder.path().join("2.txt"), "1,2,3,4\n").unwrap();
    let said = why(folder.path());
    assert!(said.contains("2.txt") && said.contains("shape [4]"), "{said}");
    assert!(why(&folder.path().join("none.csv:a")).contains("there is no file"));
}

#[test]
fn parts_are_named_behind_a_colon() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("t.csv");
    fs::write(&table, "a,label,b\n1,7,2\n3,8,4\n").unwrap();
    let part = |part: &str| PathBuf::from(format!("{}:{part}", table.display()));
    assert_eq!(read(&part("a,3")).unwrap().values, [1., 2., 3., 4.]);
    assert_eq!(read_labels(&part("label")).unwrap().0, [7, 8]);
    let said = why(&part("c"));
    assert!(said.contains("t.csv:c") && said.contains("a, label, b"), "{said}");
    assert!(why(&table).contains("perhaps its label"));
    // A colon may stand in a file's name.
    let colon = folder.path().join("x:y.csv");
    fs::write(&colon, "a,b\n5,6\n").unwrap();
    assert_eq!(read(&colon).unwrap().values, [5., 6.]);
    assert_eq!(read(Path::new(&format!("{}:b,a", colon.display()))).unwrap().values, [6., 5.]);
}
