//! How many threads compute.

/// What rayon and candle read, the latter before every product.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Sets the number of computing threads to what this process may use, unless the environment says otherwise.
///
/// By itself candle counts the cores of the machine, blind to a container's share of them, and threads beyond that share
/// only wait for each other. The number can only be given by the environment, which a running program cannot
/// change safely, so on Linux the program replaces itself, with the same process id, by itself with the variables set.
/// Elsewhere there are no such shares.
pub fn limit() {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;

        if VARIABLES
            .iter()
            .all(|name| std::env::var_os(name).is_some())
        {
            return;
        }
        let Ok(count) = std::thread::available_parallelism() else {
            return;
        };
        let set = VARIABLES
            .iter()
            .filter(|name| std::env::var_os(name).is_none());
        let set = set.map(|name| (name, count.to_string()));
        if let Ok(program) = std::env::current_exe() {
            let mut argv = std::env::args_os();
            let mut command = std::process::Command::new(program);
            if let Some(name) = argv.next() {
                command.arg0(name);
            }
            // Only comes back when it failed; then the defaults have to do.
            let error = command.args(argv).envs(set).exec();
            tracing::warn!(%error, "the number of threads could not be set");
        }
    }
}
