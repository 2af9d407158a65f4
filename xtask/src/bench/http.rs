//! As much of HTTP as the measurements need, on a loopback connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// No answer of a worker is silent for longer.
const PATIENCE: Duration = Duration::from_mins(2);

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("no answer at {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection that asks again and again.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = BufReader::new(connect(address)?);
        Ok(Self { stream })
    }

    /// The status and the body of a GET.
    pub fn get(&mut self, path: &str) -> anyhow::Result<(u16, String)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let head = Head::read(&mut self.stream)?;
        let length = head.length.context("the answer has no Content-Length")?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((head.status, String::from_utf8(body)?))
    }
}

/// Events of a server as they come.
pub struct Events {
    stream: BufReader<TcpStream>,
}

impl Events {
    /// Posts JSON and reads the head of the answer.
    pub fn post(address: SocketAddr, path: &str, body: &Value) -> anyhow::Result<Self> {
        let mut stream = BufReader::new(connect(address)?);
        let body = body.to_string();
        // An answer in HTTP 1.0 is not cut into chunks; it ends with the connection.
        let request = format!(
            "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let head = Head::read(&mut stream)?;
        if head.status != 200 {
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            bail!("POST {path}: {} {text}", head.status);
        }
        Ok(Self { stream })
    }
}

impl Iterator for Events {
    type Item = anyhow::Result<Value>;

    /// The data of the next event.
    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        loop {
            line.clear();
            match self.stream.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {
                    if let Some(data) = line.strip_prefix("data:") {
                        return Some(serde_json::from_str(data).context("an event"));
                    }
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

struct Head {
    status: u16,
    length: Option<usize>,
}

impl Head {
    fn read(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Self> {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut head = Self {
            status: status.with_context(|| format!("no HTTP answer: {line:?}"))?,
            length: None,
        };
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                bail!("the answer ends in its head");
            }
            let Some((name, value)) = line.split_once(':') else {
                return Ok(head);
            };
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.trim().parse().ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    /// A server that answers one connection's first request; returns what was asked.
    fn server(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            let mut asked = String::new();
            while !asked.ends_with("\r\n\r\n") {
                stream.read_line(&mut asked).unwrap();
            }
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            asked
        });
        (address, asked)
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        let answer =
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\n{\"a\": 1}\nmore";
        let (address, asked) = server(answer);
        let (status, body) = Connection::open(address).unwrap().get("/ready").unwrap();
        assert_eq!((status, body.as_str()), (503, "{\"a\": 1}\n"));
        assert!(asked.join().unwrap().starts_with("GET /ready HTTP/1.1\r\n"));
    }

    #[test]
    fn events_come_until_the_connection_ends() {
        let answer = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n\
            event: token\nid: 0\ndata: {\"i\":0}\n\n: still here\n\nevent: end\nid: 1\ndata: {\"i\":1}\n\n";
        let (address, _asked) = server(answer);
        let events = Events::post(address, "/execute", &serde_json::json!({})).unwrap();
        let ids: Vec<i64> = events
            .map(|event| event.unwrap()["i"].as_i64().unwrap())
            .collect();
        assert_eq!(ids, [0, 1]);
    }

    #[test]
    fn a_refusal_is_an_error_that_says_why() {
        let (address, _asked) = server("HTTP/1.0 400 Bad Request\r\n\r\nmax_tokens is 0");
        let error = Events::post(address, "/execute", &serde_json::json!({}))
            .err()
            .unwrap();
        assert!(error.to_string().contains("400 max_tokens is 0"), "{error}");
    }
}
