//! A TCP address on loopback whose connections lead to a Unix socket, for programs that know no
//! such sockets.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context as _;

/// Forwards for as long as this program runs.
///
/// # Errors
/// There is no free port.
pub fn to(socket: &Path) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    let address = listener.local_addr().context("looking for a free port")?;
    let socket = socket.to_owned();
    thread::spawn(move || {
        for taken in listener.incoming().flatten() {
            let socket = socket.clone();
            // An end of either side ends both; the program that asks sees it.
            thread::spawn(move || connect(&taken, &socket).ok());
        }
    });
    Ok(address)
}

fn connect(taken: &TcpStream, socket: &PathBuf) -> io::Result<()> {
    let there = UnixStream::connect(socket)?;
    let (mut from_here, mut to_there) = (taken.try_clone()?, there.try_clone()?);
    let asking = thread::spawn(move || {
        let sent = io::copy(&mut from_here, &mut to_there);
        let _ = to_there.shutdown(Shutdown::Write); // gone already, if it failed
        sent
    });
    let answered = io::copy(&mut &there, &mut &*taken);
    let _ = taken.shutdown(Shutdown::Both); // as above
    asking.join().map_err(|_| io::ErrorKind::Other)??;
    answered.map(drop)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixListener,
    };

    use super::*;

    #[test]
    fn both_directions_reach_the_other_end() {
        let place = std::env::temp_dir().join(format!("osmoda-forward-{}", std::process::id()));
        let listener = UnixListener::bind(&place).unwrap();
        let address = to(&place).unwrap();
        let echo = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            stream.write_all(said.to_uppercase().as_bytes()).unwrap();
        });
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        echo.join().unwrap();
        std::fs::remove_file(&place).unwrap();
        assert_eq!(answer, "HELLO");
    }
}
