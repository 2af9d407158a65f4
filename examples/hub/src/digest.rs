//! Digests as git and LFS write them: lowercase hexadecimal digits.

use std::io::{self, Read};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Git's name of a blob: the SHA-1 of its kind, its size and its content.
pub(crate) fn git_blob(size: u64, content: impl Read) -> io::Result<String> {
    let head = Sha1::new_with_prefix(format!("blob {size}\0"));
    read_all(head, content)
}

/// LFS names content by its SHA-256.
pub(crate) fn sha256(content: impl Read) -> io::Result<String> {
    read_all(Sha256::new(), content)
}

/// A name for anything that is made of named things.
pub(crate) fn name_of(text: &str) -> String {
    hex(Sha1::new_with_prefix(text))
}

fn read_all(mut hasher: impl Digest, mut content: impl Read) -> io::Result<String> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(hex(hasher)),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn hex(hasher: impl Digest) -> String {
    let digits = hasher.finalize();
    digits.iter().fold(String::new(), |mut text, byte| {
        text += &format!("{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_git_and_lfs() {
        // `printf abc | git hash-object --stdin`, and FIPS 180.
        let blob = git_blob(3, &b"abc"[..]).unwrap();
        assert_eq!(blob, "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f");
        assert_eq!(
            sha256(&b"abc"[..]).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
