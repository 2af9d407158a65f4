//! What a hive advises, for somebody who is not on its pool.

use pool_core::name::PoolName;

/// The commands of `rbee-hive`.
const COMMANDS: [&str; 4] = ["devices", "models", "status", "worker"];

/// The text, with each command of `rbee-hive` as it is given from here.
pub fn from_here(text: &str, pool: &PoolName) -> String {
    COMMANDS.iter().fold(text.to_owned(), |text, command| {
        let (there, here) = (
            format!("rbee-hive {command}"),
            format!("rbee pool --pool {pool} {command}"),
        );
        text.replace(&there, &here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_operator_and_other_words_stay() {
        let pool = "box".parse().unwrap();
        for (there, here) in [
            (
                "the whole log: rbee-hive worker logs chat-1",
                "the whole log: rbee pool --pool box worker logs chat-1",
            ),
            (
                "bring it: `rbee apply`, or `rbee-hive models register` from its folder",
                "bring it: `rbee apply`, or `rbee pool --pool box models register` from its folder",
            ),
            (
                "use the rbee-hive that wrote it, or a later one",
                "use the rbee-hive that wrote it, or a later one",
            ),
        ] {
            assert_eq!(from_here(there, &pool), here);
        }
    }
}
