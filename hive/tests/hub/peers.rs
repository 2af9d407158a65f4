//! Content that goes from pool to pool.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;

use local_hub::{Fault, Place, Times};
use pool_core::model::CatalogEntry;
use pool_core::rpc::{Event, Fetched, HiveError, Outcome, Request};
use pool_core::supply::{HubAccess, HubRepo, Interface, Peer, Secret, Serving};

use super::Scene;
use crate::util::{Connection, Pool, Worker};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Asks a pool to serve all contents of a model, and others that it may not have.
fn serve(connection: &mut Connection, entry: &CatalogEntry) -> (u64, Serving) {
    let contents = entry.files.iter().map(|file| file.file.sha256);
    let id = connection.send(Request::Serve {
        contents: contents.collect(),
        interface: Interface::Towards(HERE),
    });
    match connection.event(id) {
        Some(Event::Serving(serving)) => (id, serving),
        other => panic!("{other:?}"),
    }
}

fn fetch(
    connection: &mut Connection,
    entry: &CatalogEntry,
    peers: Vec<Serving>,
    hub: Option<HubRepo>,
) -> Result<Fetched, HiveError> {
    connection.register(entry).unwrap();
    let peer = |serving| Peer {
        pool: "near".parse().unwrap(),
        serving,
    };
    let request = Request::Fetch {
        model: entry.id.clone(),
        peers: peers.into_iter().map(peer).collect(),
        hub,
        most_from_hub: None,
    };
    match connection.call(request)? {
        Outcome::Fetched(fetched) => Ok(fetched),
        other => panic!("{other:?}"),
    }
}

fn hub_of(scene: &Scene) -> HubRepo {
    HubRepo {
        repo: "org/m".into(),
        commit: scene.hub.commit("org/m").unwrap(),
        access: HubAccess {
            endpoint: Some(scene.hub.url().to_owned()),
            token: None,
        },
    }
}

fn get(serving: &Serving, path: &str, token: Option<&str>) -> String {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]);
    if let Some(token) = token {
        curl.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    let output = curl
        .arg(format!("http://{}/{path}", serving.address))
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn a_pool_gives_what_it_has_to_who_has_the_token_for_as_long_as_it_is_asked_to() {
    let scene = Scene::new(2, 40 << 20);
    scene.download();
    let entry = scene.entry();
    scene.hub.forget_requests();
    let mut source = scene.pool.connect();
    let (call, serving) = serve(&mut source, &entry);
    assert!(serving.address.ip().is_loopback());
    assert_eq!(serving.contents.len(), entry.files.len());

    let name = serving.contents[0].to_string();
    let token = serving.token.expose().to_owned();
    assert_eq!(get(&serving, &name, Some(&token)), "200");
    assert_eq!(get(&serving, &name, None), "401");
    assert_eq!(get(&serving, &name, Some("x")), "401");
    assert_eq!(get(&serving, &"0".repeat(64), Some(&token)), "404");
    assert_eq!(get(&serving, "../catalog.json", Some(&token)), "404");

    let target = Pool::with(Worker::Missing);
    let mut connection = target.connect();
    let fetched = fetch(
        &mut connection,
        &entry,
        vec![serving.clone()],
        Some(hub_of(&scene)),
    )
    .unwrap();
    assert_eq!(
        (fetched.from_pools, fetched.from_hub),
        (entry.size_bytes, 0)
    );
    assert_eq!(fetched.missing, []);
    connection.publish(&entry).unwrap();
    assert_eq!(target.blobs(), scene.pool.blobs());
    assert_eq!(scene.hub.requests(), [], "the hub was not asked");
    assert!(target.observe().rates.pools.is_some());

    assert_eq!(
        source.call(Request::Cancel { call }),
        Ok(Outcome::Cancelled)
    );
    assert_eq!(get(&serving, &name, Some(&token)), "000");
    let ended = source.answer(call).unwrap_err();
    assert_eq!(ended.code, pool_core::rpc::ErrorCode::Cancelled);
}

#[test]
fn the_hub_gives_what_a_pool_that_dies_half_way_did_not() {
    let scene = Scene::new(1, 130 << 20);
    scene.download();
    let entry = scene.entry();
    scene.hub.forget_requests();
    let mut source = scene.pool.connect();
    let (_, serving) = serve(&mut source, &entry);
    let target = Pool::with(Worker::Missing);
    let mut connection = target.connect();
    connection.register(&entry).unwrap();
    let id = connection.send(Request::Fetch {
        model: entry.id.clone(),
        peers: vec![Peer {
            pool: "near".parse().unwrap(),
            serving,
        }],
        hub: Some(hub_of(&scene)),
        most_from_hub: None,
    });
    // It dies when the first bytes are there.
    let weights = target
        .home
        .join(format!("models/incoming/{}", scene.weights().sha256));
    while !fs::metadata(&weights).is_ok_and(|file| file.len() > 0) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    source.kill();
    let Outcome::Fetched(fetched) = connection.answer(id).unwrap() else {
        panic!("something else was done")
    };
    assert!(
        fetched.from_pools > 0 && fetched.from_hub > 0,
        "{fetched:?}"
    );
    assert_eq!(fetched.from_pools + fetched.from_hub, entry.size_bytes);
    assert!(
        fetched
            .notes
            .iter()
            .any(|note| note.contains("comes from the hub instead"))
    );
    connection.publish(&entry).unwrap();
    assert_eq!(target.blobs(), scene.pool.blobs());
}

#[test]
fn a_pool_that_stands_still_is_not_waited_for() {
    let scene = Scene::new(1, 130 << 20);
    scene.download();
    let entry = scene.entry();
    let mut source = scene.pool.connect();
    let (_, serving) = serve(&mut source, &entry);
    let signal = |name: &str| {
        let mut kill = std::process::Command::new("kill");
        kill.args(["-s", name, &source.child.id().to_string()]);
        assert!(kill.status().unwrap().success());
    };
    signal("STOP");
    let target = Pool::with(Worker::Missing);
    let mut connection = target.connect();
    let begun = std::time::Instant::now();
    let fetched = fetch(&mut connection, &entry, vec![serving], Some(hub_of(&scene)));
    signal("CONT");
    let fetched = fetched.unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(50));
    assert_eq!(
        (fetched.from_hub, fetched.missing),
        (entry.size_bytes, vec![])
    );
}

#[test]
fn wrong_content_of_a_pool_is_not_taken_and_the_hub_is_asked() {
    let scene = Scene::new(1, 8 << 20);
    scene.download();
    let entry = scene.entry();
    let weights = entry
        .files
        .iter()
        .max_by_key(|file| file.file.size)
        .unwrap();
    let blob = scene
        .pool
        .home
        .join(format!("models/blobs/{}", weights.file.sha256));
    fs::set_permissions(&blob, PermissionsExt::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[5] ^= 1;
    fs::write(&blob, bytes).unwrap();

    let mut source = scene.pool.connect();
    let (_, serving) = serve(&mut source, &entry);
    let target = Pool::with(Worker::Missing);
    let mut connection = target.connect();
    // Without a hub it is left to the operator.
    let fetched = fetch(&mut connection, &entry, vec![serving.clone()], None).unwrap();
    assert_eq!(fetched.missing, std::slice::from_ref(&weights.file));
    let fetched = fetch(&mut connection, &entry, vec![serving], Some(hub_of(&scene))).unwrap();
    assert_eq!(fetched.from_hub, weights.file.size);
    assert!(
        fetched.notes[0]
            .contains("pool near gave model-00001-of-00001.safetensors with wrong bytes")
    );
    connection.publish(&entry).unwrap();
}

#[test]
fn pools_that_cannot_be_reached_are_passed_over() {
    let scene = Scene::new(1, 8 << 20);
    let entry = scene.entry();
    let nobody = Serving {
        address: (HERE, 1).into(),
        token: Secret::new("x"),
        contents: entry.files.iter().map(|file| file.file.sha256).collect(),
    };
    let target = Pool::with(Worker::Missing);
    let mut connection = target.connect();
    let fetched = fetch(&mut connection, &entry, vec![nobody.clone()], None).unwrap();
    assert_eq!(fetched.missing.len(), entry.files.len());
    assert_eq!(fetched.from_pools, 0);
    let fetched = fetch(&mut connection, &entry, vec![nobody], Some(hub_of(&scene))).unwrap();
    assert_eq!(fetched.from_hub, entry.size_bytes);
    connection.publish(&entry).unwrap();
}

#[test]
fn what_a_cancelled_fetch_brought_is_taken_up() {
    let scene = Scene::new(1, 40 << 20);
    let slow = Fault::Slow(30 << 20);
    scene.hub.faults().add(Place::Blobs, slow, Times::Always);
    let entry = scene.entry();
    let mut connection = scene.pool.connect();
    let id = connection.send(Request::Fetch {
        model: entry.id.clone(),
        peers: Vec::new(),
        hub: Some(hub_of(&scene)),
        most_from_hub: None,
    });
    loop {
        match connection.event(id).unwrap() {
            Event::Progress(progress)
                if progress.bytes.is_some_and(|bytes| bytes.done > 20 << 20) =>
            {
                break;
            }
            Event::Progress(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        connection.call(Request::Cancel { call: id }),
        Ok(Outcome::Cancelled)
    );
    connection.answer(id).unwrap_err();
    let before = scene.hub.blob_bytes();
    scene.hub.faults().clear();
    scene.download();
    scene.is_right();
    let rest = scene.hub.blob_bytes() - before;
    assert!(
        rest <= (40 << 20) - (20 << 20) + (16 << 20),
        "{rest} bytes came after it"
    );
}
