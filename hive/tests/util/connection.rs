//! The operator's side of one connection, plain and blocking.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pool_core::facts::Fact;
use pool_core::model::{CatalogEntry, ModelFile};
use pool_core::rpc::{Call, Event, GREETING, Hello, HiveError, Holder, Outcome, Reply, Request};
use pool_core::worker::{WorkerRecord, WorkerSpec};

/// A running `rbee-hive rpc`.
pub struct Connection {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    replies: Receiver<Reply>,
    /// Read while waiting for those of another call.
    early: Vec<Reply>,
    next_id: u64,
}

impl Connection {
    pub fn open(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeting = lines.next().unwrap().unwrap();
        let hello: Hello = serde_json::from_str(greeting.strip_prefix(GREETING).unwrap()).unwrap();
        assert_eq!(hello.version, pool_core::VERSION);
        let (sender, replies) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let reply = serde_json::from_str(&line).unwrap();
                if sender.send(reply).is_err() {
                    break;
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            replies,
            early: Vec::new(),
            next_id: 1,
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Sends a call and returns its id.
    pub fn send(&mut self, request: Request) -> u64 {
        self.send_expecting(Vec::new(), request)
    }

    fn send_expecting(&mut self, expect: Vec<Fact>, request: Request) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let call = Call {
            id,
            expect,
            request,
        };
        self.write(&line(&call));
        id
    }

    /// The next event of a call; none when the connection ended.
    pub fn event(&mut self, id: u64) -> Option<Event> {
        if let Some(place) = self.early.iter().position(|reply| reply.id == id) {
            return Some(self.early.remove(place).event);
        }
        loop {
            match self.replies.recv_timeout(Duration::from_mins(1)) {
                Ok(reply) if reply.id == id => return Some(reply.event),
                Ok(reply) => self.early.push(reply),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(timeout) => panic!("no event for call {id}: {timeout}"),
            }
        }
    }

    /// The answer to a call, past its progress and output.
    pub fn answer(&mut self, id: u64) -> Result<Outcome, HiveError> {
        loop {
            match self.event(id).expect("the connection ended") {
                Event::Done(outcome) => return Ok(*outcome),
                Event::Error(error) => return Err(error),
                Event::Progress(_) | Event::Output { .. } => {}
                event => panic!("unexpected {event:?}"),
            }
        }
    }

    pub fn call(&mut self, request: Request) -> Result<Outcome, HiveError> {
        self.call_expecting(Vec::new(), request)
    }

    pub fn call_expecting(
        &mut self,
        expect: Vec<Fact>,
        request: Request,
    ) -> Result<Outcome, HiveError> {
        let id = self.send_expecting(expect, request);
        self.answer(id)
    }

    /// Takes the pool for an apply, and returns the id of the call that holds it.
    pub fn lock(&mut self, holder: &Holder) -> Result<u64, HiveError> {
        let holder = holder.clone();
        let id = self.send(Request::Lock { holder });
        match self.event(id) {
            Some(Event::Locked) => Ok(id),
            Some(Event::Error(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Announces content and returns where the hive wants it from.
    pub fn announce(&mut self, content: &[u8]) -> (u64, u64) {
        let id = self.send(Request::Upload {
            sha256: pool_core::digest::Sha256::of(content),
            size: content.len() as u64,
        });
        match self.event(id) {
            Some(Event::Send { offset }) => (id, offset),
            other => panic!("{other:?}"),
        }
    }

    pub fn upload(&mut self, content: &[u8]) -> Result<Outcome, HiveError> {
        let (id, offset) = self.announce(content);
        self.write(&content[offset as usize..]);
        self.answer(id)
    }

    /// Closes the hive's stdin and waits for its end.
    pub fn close(mut self) -> std::process::ExitStatus {
        self.stdin.take();
        self.child.wait().unwrap()
    }

    /// The end of a hive that nobody could prepare for.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A call as it goes over the connection.
pub fn line(call: &Call) -> Vec<u8> {
    let mut line = serde_json::to_vec(call).unwrap();
    line.push(b'\n');
    line
}

/// The calls with an answer of their own shape.
impl Connection {
    pub fn register(&mut self, entry: &CatalogEntry) -> Result<Vec<ModelFile>, HiveError> {
        let entry = Box::new(entry.clone());
        match self.call(Request::Register { entry })? {
            Outcome::Missing(files) => Ok(files),
            other => panic!("{other:?}"),
        }
    }

    pub fn publish(&mut self, entry: &CatalogEntry) -> Result<CatalogEntry, HiveError> {
        let model = entry.id.clone();
        match self.call(Request::Publish { model })? {
            Outcome::Published(entry) => Ok(entry),
            other => panic!("{other:?}"),
        }
    }

    /// Registers, uploads the contents that are missing, and publishes.
    pub fn bring(&mut self, entry: &CatalogEntry, contents: &[&[u8]]) {
        let missing = self.register(entry).unwrap();
        assert_eq!(missing.len(), contents.len());
        for content in contents {
            self.upload(content).unwrap();
        }
        self.publish(entry).unwrap();
    }

    pub fn spawn(&mut self, spec: &WorkerSpec) -> Result<WorkerRecord, HiveError> {
        let spec = Box::new(spec.clone());
        match self.call(Request::Spawn {
            spec,
            canary: pool_core::worker::Canary::default(),
            protect: false,
        })? {
            Outcome::Spawned(record) => Ok(record),
            other => panic!("{other:?}"),
        }
    }
}
