//! Stands in place of the client where the feature `object-store` is off.

use std::convert::Infallible;
use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use super::{Creation, IS_ABSENT, StoreUrl};

/// There is none without the feature `object-store`.
#[derive(Clone, Debug)]
pub struct Store(Infallible);

// None of it can be called but `connect`; all is documented with the feature.
#[doc(hidden)]
impl Store {
    pub fn connect(_: &StoreUrl) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, IS_ABSENT))
    }

    pub fn give_up(&self) {
        match self.0 {}
    }

    pub fn get(&self, _: &str) -> io::Result<Vec<u8>> {
        match self.0 {}
    }

    pub fn names(&self) -> io::Result<Vec<String>> {
        match self.0 {}
    }

    pub fn create(&self, _: &str, _: Vec<u8>) -> io::Result<Creation> {
        match self.0 {}
    }

    pub fn put(&self, _: &str, _: Vec<u8>) -> io::Result<()> {
        match self.0 {}
    }

    pub fn put_file(&self, _: &str, _: &Path) -> io::Result<Option<String>> {
        match self.0 {}
    }

    pub fn remove(&self, _: &str) -> io::Result<()> {
        match self.0 {}
    }

    pub fn look_at(&self, _: &str) -> io::Result<(u64, Option<String>)> {
        match self.0 {}
    }

    pub fn begin_range(&self, _: &str, _: Range<u64>, _: Option<&str>) -> io::Result<ComingRange> {
        match self.0 {}
    }
}

/// There is none without the feature `object-store`.
#[derive(Debug)]
pub struct ComingRange(Infallible);

#[doc(hidden)]
impl ComingRange {
    pub fn wait(self) -> io::Result<Bytes> {
        match self.0 {}
    }
}
