//! Folders of images: their order, their names in every form of the answer, and subfolders as true labels.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use twoply_nn::{Evaluator, Normalise, import::onnx};
use twoply_party::files::read_images;
use twoply_tests::binary::root;
use twoply_tests::model::{PLAIN, idx};
use twoply_tests::{SOON, World, digits};

#[test]
fn answers_carry_the_names_of_files() {
    let world = World::dealt(PLAIN, 64, 16);
    let pair = world.parties();
    world.provision(&pair, &[]).is(0);
    let folder = PathBuf::from(world.path("folder"));
    fs::create_dir(&folder).unwrap();
    for image in 0..12 {
        fs::write(folder.join(format!("{image}.idx")), idx(image..image + 1)).unwrap();
    }
    fs::write(folder.join(".DS_Store"), b"\0").unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    let images = folder.display().to_string();
    let ask = |more: &[&str]| {
        world.call("infer", "client", &pair, &[&["--images", &images], more].concat()).wait(SOON)
    };
    let want = &digits().labels[..12];
    let names: Vec<String> = (0..12).map(|image| format!("{image}.idx")).collect();

    let said = ask(&["--format", "text"]);
    said.is(0).says(&["subfolders beside files are passed over", "sub"]);
    let lines: Vec<String> =
        want.iter().zip(&names).map(|(label, name)| format!("{label}\t{name}")).collect();
    assert_eq!(said.out.lines().collect::<Vec<_>>(), lines);

    let said = ask(&["--from", "9", "--stream"]);
    let lines: Vec<Value> = said.is(0).out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for (image, line) in (9..12).zip(&lines) {
        assert_eq!((&line["image"], &line["name"]), (&image.into(), &names[image].clone().into()));
        assert_eq!(line["label"], want[image]);
    }

    // Sorted by label into subfolders, all of them right.
    let classes = PathBuf::from(world.path("classes"));
    for class in 0..10 {
        fs::create_dir_all(classes.join(class.to_string())).unwrap();
    }
    for (image, label) in want.iter().enumerate() {
        fs::write(classes.join(format!("{label}/{image}.idx")), idx(image..image + 1)).unwrap();
    }
    let images = classes.display().to_string();
    let said = world.call("infer", "client", &pair, &["--images", &images]).wait(SOON);
    let json = said.is(0).json();
    assert_eq!(json["correct_private"], 12);
    for (name, label) in json["names"].as_array().unwrap().iter().zip(json["labels"].as_array().unwrap()) {
        assert!(name.as_str().unwrap().starts_with(&format!("{label}/")), "{name} is {label}");
    }
    // A file has no names.
    let json = world.infer(&pair, 0..2).json();
    assert!(json["names"].is_null());
    pair.stop();
}

#[test]
fn pictures_with_numbers_for_names() {
    let case = root().join("../shared/cases/image-folder");
    let Ok(model) = fs::read(case.join("model.onnx")) else {
        eprintln!("skipped: no {}", case.display());
        return;
    };
    let normalise = Normalise { scale: 1.0 / 255.0, mean: vec![], std: vec![] };
    let model = onnx::import(&model, Some("model"), Some(normalise)).unwrap();
    let inputs = read_images(&case.join("images"), &model.graph.input, false).unwrap();
    assert_eq!(inputs.names.unwrap(), (0..12).map(|i| format!("{i}.png")).collect::<Vec<_>>());
    let labels = Evaluator::new(&model.graph, &model.weights).unwrap().labels(&inputs.values).unwrap();
    assert_eq!(labels, [3, 0, 2, 0, 0, 1, 1, 4, 0, 3, 1, 0]);
}
