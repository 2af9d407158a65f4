//! For which machine a program is built, by the head of its file.

use std::fmt;

use pool_core::observation::Platform;

/// How many bytes of a file tell.
pub const HEAD: usize = 20;

/// Operating system and processor of a program, named as `uname` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    os: &'static str,
    arch: &'static str,
}

impl Machine {
    /// Reads the head of an ELF (System V gABI, figure 4-3) or Mach-O (`mach/machine.h`) file; none
    /// for anything else.
    pub fn of(head: &[u8]) -> Option<Self> {
        const ELF64: &[u8] = b"\x7fELF\x02";
        const MACH_O_64: &[u8] = &[0xcf, 0xfa, 0xed, 0xfe];
        if head.starts_with(ELF64) {
            let arch = match head.get(18..20)? {
                [62, 0] => "x86_64",
                [183, 0] => "aarch64",
                _ => "another processor",
            };
            return Some(Self { os: "Linux", arch });
        }
        if head.starts_with(MACH_O_64) {
            let arch = match head.get(4..8)? {
                [7, 0, 0, 1] => "x86_64",
                [12, 0, 0, 1] => "arm64",
                _ => "another processor",
            };
            return Some(Self { os: "Darwin", arch });
        }
        None
    }

    /// Whether `platform` runs such a program by itself.
    pub fn suits(self, platform: &Platform) -> bool {
        let of_program = Platform {
            os: self.os.to_owned(),
            arch: self.arch.to_owned(),
        };
        of_program.target().is_some() && of_program.target() == platform.target()
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.os, self.arch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_program_names_its_machine() {
        let mut elf = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0";
        let arm_linux = Machine::of(&elf).unwrap();
        assert_eq!(arm_linux.to_string(), "Linux aarch64");
        let platform = |os: &str, arch: &str| Platform {
            os: os.into(),
            arch: arch.into(),
        };
        assert!(arm_linux.suits(&platform("Linux", "aarch64")));
        assert!(!arm_linux.suits(&platform("Linux", "x86_64")));
        assert!(!arm_linux.suits(&platform("Darwin", "arm64")));
        elf[18] = 62;
        assert!(
            Machine::of(&elf)
                .unwrap()
                .suits(&platform("Linux", "x86_64"))
        );
        elf[18] = 8;
        assert!(!Machine::of(&elf).unwrap().suits(&platform("Linux", "mips")));
        let mac = Machine::of(&[0xcf, 0xfa, 0xed, 0xfe, 12, 0, 0, 1]).unwrap();
        assert!(mac.suits(&platform("Darwin", "arm64")));
        assert_eq!(Machine::of(b"#!/bin/sh\n"), None);
        assert_eq!(Machine::of(b""), None);
    }
}
