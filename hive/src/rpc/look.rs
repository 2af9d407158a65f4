//! Observations, answered on one thread: most connections ask for nothing else, and a plan asks a hundred pools at once.

use std::io::{self, BufRead as _, StdinLock, Write};

use pool_core::rpc::{Call, Event, GREETING, Hello, Outcome, PROTOCOL, Reply, Request};

use crate::{Hive, builds, machine, observe};

/// Greets, and answers as long as nothing but observations is asked. Returns whether another call waits: it is not read,
/// and [`super::serve`] finds it on stdin.
///
/// # Errors
/// Stdin or stdout is gone.
pub fn look(hive: &Hive) -> io::Result<bool> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let hello = Hello {
        protocol: PROTOCOL,
        version: pool_core::VERSION.to_owned(),
        platform: Some(machine::platform()),
        build: builds::own(hive),
    };
    writeln!(output, "{GREETING}{}", serde_json::to_string(&hello)?)?;
    output.flush()?;
    loop {
        let Some(id) = observation(&mut input)? else {
            return Ok(!input.fill_buf()?.is_empty());
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let event = match runtime.block_on(observe::observe(hive)) {
            Ok(observation) => Event::Done(Box::new(Outcome::Observed(observation))),
            Err(error) => Event::Error(error),
        };
        let reply = serde_json::to_string(&Reply { id, event })?;
        writeln!(output, "{reply}")?;
        output.flush()?;
        // Without waiting for a driver that hangs.
        runtime.shutdown_background();
    }
}

/// Takes the next call from the input where it is an observation; else leaves it there.
fn observation(input: &mut StdinLock) -> io::Result<Option<u64>> {
    let bytes = input.fill_buf()?;
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return Ok(None);
    };
    let Ok(Call {
        id,
        expect,
        request: Request::Observe,
    }) = serde_json::from_slice(&bytes[..end])
    else {
        return Ok(None);
    };
    if !expect.is_empty() {
        return Ok(None);
    }
    input.consume(end + 1);
    Ok(Some(id))
}
