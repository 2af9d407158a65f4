//! What each call does.

use std::time::Duration;

use pool_core::facts::Fact;
use pool_core::name::FleetName;
use pool_core::rpc::{ErrorCode, Event, Outcome, Request, Subject};
use tokio::task::block_in_place;

use super::{Replies, command};
use crate::error::{Result, fail};
use crate::expect::Expect;
use crate::home::Locked;
use crate::serve::Server;
use crate::workers::{SpawnOptions, StopOptions};
use crate::{Hive, fetch, hub, links, models, observe, orchestrators, workers};

/// Carries out what was asked, where what it `expect`s is so.
pub async fn answer(
    hive: &Hive,
    request: Request,
    expect: Vec<Fact>,
    replies: &Replies,
) -> Result<Outcome> {
    let expect = match &expect[..] {
        [] => Expect::default(),
        _ => Expect::new(hive, owner(hive, &request), expect),
    };
    let home = || -> Result<Locked> {
        let home = hive.home.lock()?;
        expect.check(&home)?;
        Ok(home)
    };
    match request {
        Request::Observe => observe::observe(hive).await.map(Outcome::Observed),
        Request::Register { entry } => block_in_place(|| {
            models::check_touched(&hive.home, &entry)?;
            models::register(&home()?, *entry).map(Outcome::Missing)
        }),
        Request::Fetch {
            model,
            peers,
            hub,
            most_from_hub,
        } => {
            block_in_place(|| expect.check_now(&hive.home))?;
            let tell = |progress| replies.progress(progress);
            let from = fetch::From {
                peers,
                hub,
                most_from_hub,
            };
            fetch::fetch(hive, &model, from, tell)
                .await
                .map(Outcome::Fetched)
        }
        Request::Serve {
            contents,
            interface,
        } => {
            let server = Server::open(&hive.home, contents, interface).await?;
            replies.send(Event::Serving(server.serving())).await;
            match server.run().await? {}
        }
        Request::Resolve { source, access } => {
            hub::resolve(&source, &access).await.map(Outcome::Resolved)
        }
        Request::Publish { model } => {
            let publish = || {
                expect.check_now(&hive.home)?;
                models::publish(&hive.home, &model)
            };
            block_in_place(publish).map(Outcome::Published)
        }
        Request::Unregister { model, owner } => {
            block_in_place(|| models::unregister(&home()?, &model, owner.as_ref()))?;
            Ok(Outcome::Unregistered)
        }
        Request::Spawn {
            spec,
            canary,
            protect,
        } => {
            let progress = |progress| replies.progress(progress);
            let options = SpawnOptions {
                expect,
                canary,
                protect,
                ..SpawnOptions::default()
            };
            workers::spawn(hive, *spec, options, &progress)
                .await
                .map(Outcome::Spawned)
        }
        Request::Stop {
            worker,
            owner,
            deadline_s,
            for_spawn,
        } => {
            let options = StopOptions {
                expect,
                owner,
                for_spawn,
                patience: Duration::from_secs(deadline_s.into()),
            };
            let stopped = workers::stop(hive, &worker, options).await;
            stopped.map(Outcome::Stopped)
        }
        Request::StartOrchestrator { spec } => {
            let progress = |progress| replies.progress(progress);
            let started = orchestrators::start(hive, *spec, &expect, &progress).await;
            started.map(Outcome::Started)
        }
        Request::StopOrchestrator { fleet } => {
            orchestrators::stop(hive, &fleet, &expect, true).await?;
            Ok(Outcome::Changed)
        }
        Request::Configure {
            fleet,
            file,
            content,
        } => {
            let configure =
                || orchestrators::config::configure(hive, &home()?, &fleet, file, &content);
            block_in_place(configure)?;
            Ok(Outcome::Changed)
        }
        Request::Link {
            fleet,
            orchestrator,
            token,
        } => {
            block_in_place(|| links::write(&home()?, &fleet, orchestrator, token))?;
            Ok(Outcome::Changed)
        }
        Request::Unlink { fleet } => {
            block_in_place(|| links::remove(&home()?, &fleet))?;
            Ok(Outcome::Changed)
        }
        Request::Token { fleet } => {
            let link = block_in_place(|| links::load(&hive.home, &fleet))?;
            link.map(|link| Outcome::Token(link.token)).ok_or_else(|| {
                fail(
                    ErrorCode::NotFound,
                    format!("there is no token of the fleet {fleet} here"),
                    "plan again",
                )
            })
        }
        Request::Command { argv, access } => {
            let exit = command::run(hive, &argv, &access, replies).await;
            exit.map(Outcome::Exit)
        }
        Request::Protect {
            subject,
            owner,
            protect,
        } => {
            block_in_place(|| match &subject {
                Subject::Model(id) => models::protect(&home()?, id, &owner, protect),
                Subject::Worker(id) => workers::protect(&home()?, id, &owner, protect),
            })?;
            Ok(Outcome::Changed)
        }
        Request::Adopt {
            subject,
            owner,
            address,
        } => {
            block_in_place(|| match (&subject, &address) {
                (Subject::Model(id), _) => models::adopt(&home()?, id, &owner),
                (Subject::Worker(id), Some(address)) => {
                    workers::adopt(&home()?, id, &owner, address)
                }
                (Subject::Worker(id), None) => Err(fail(
                    ErrorCode::BadRequest,
                    format!("the worker {id} is given no address"),
                    "a worker of a fleet stands at one",
                )),
            })?;
            Ok(Outcome::Changed)
        }
        // Taken from the connection itself, see `serve`.
        Request::Upload { .. } | Request::Lock { .. } | Request::Cancel { .. } => {
            Ok(Outcome::Cancelled)
        }
    }
}

/// The fleet that asks.
fn owner(hive: &Hive, request: &Request) -> Option<FleetName> {
    match request {
        Request::Register { entry } => entry.fleet.clone(),
        Request::Spawn { spec, .. } => spec.fleet.clone(),
        Request::Unregister { owner, .. } | Request::Stop { owner, .. } => owner.clone(),
        Request::Protect { owner, .. } | Request::Adopt { owner, .. } => Some(owner.clone()),
        Request::StartOrchestrator { spec } => Some(spec.fleet.clone()),
        Request::StopOrchestrator { fleet }
        | Request::Link { fleet, .. }
        | Request::Configure { fleet, .. }
        | Request::Unlink { fleet } => Some(fleet.clone()),
        Request::Fetch { model, .. } | Request::Publish { model } => {
            models::find(&hive.home, model).ok()?.fleet
        }
        _ => None,
    }
}
