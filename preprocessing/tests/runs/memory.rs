//! A folder in memory that notes what a crash may leave between any two of its changes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::rc::Rc;
use twoply_preprocessing::{Folder, Log, Result};

#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    pub ledger: Vec<u8>,
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A disk, and what it was after each change since this was emptied; a write may also be torn.
#[derive(Default)]
pub struct Memory {
    pub disk: Disk,
    pub between: Rc<RefCell<Vec<Disk>>>,
    /// Whether it erases nothing (a planted rule).
    pub keeps: Rc<Cell<bool>>,
    /// Whether the ledger's writes are said to have failed. They may be durable all the same.
    pub fails: Rc<Cell<bool>>,
}

impl Memory {
    pub fn new(disk: &Disk) -> Memory {
        Memory { disk: disk.clone(), ..Memory::default() }
    }
    fn changed(&mut self) {
        self.between.borrow_mut().push(self.disk.clone());
    }
}

impl Log for &mut Memory {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.disk.ledger.clone())
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.ledger.truncate(offset as usize);
        for half in bytes.chunks(bytes.len() / 2) {
            self.disk.ledger.extend_from_slice(half);
            self.changed();
        }
        match self.fails.get() {
            true => Err(io::Error::other("no answer from the device")),
            false => Ok(()),
        }
    }
}

impl Folder for &mut Memory {
    fn names(&self) -> Result<Vec<String>> {
        Ok(self.disk.files.keys().cloned().collect())
    }
    fn open(&self, name: &str) -> Result<(u64, Box<dyn Read + '_>)> {
        let bytes = &self.disk.files[name];
        Ok((bytes.len() as u64, Box::new(&bytes[..])))
    }
    fn save(&mut self, name: &str, parts: &[&[u8]]) -> Result<()> {
        self.disk.files.insert(name.into(), parts.concat());
        self.changed();
        Ok(())
    }
    fn erase(&mut self, names: &[String]) -> Result<()> {
        let keeps = self.keeps.get();
        for name in names.iter().filter(|_| !keeps) {
            // half an erased file may be left
            self.disk.files.get_mut(name).unwrap().fill(0);
            self.changed();
            self.disk.files.remove(name);
            self.changed();
        }
        Ok(())
    }
    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}
