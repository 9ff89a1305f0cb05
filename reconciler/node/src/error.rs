//! Errors in one line, and whose they are.

use rustix::io::Errno;

/// An error and all its sources: `cannot write X: No space left on device (os error 28)`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Whether the host is out of something: descriptors, processes, memory, room on a disk. That
/// passes, and says nothing about what was to be read, asked or started.
pub fn host_lacks(error: &(dyn std::error::Error + 'static)) -> bool {
    let lacks = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::AGAIN,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::NOSPC,
        Errno::DQUOT,
    ];
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut failed = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    failed.any(|error| {
        let number = error.raw_os_error().map(Errno::from_raw_os_error);
        number.is_some_and(|number| lacks.contains(&number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write the note")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn every_source_is_named_once() {
        let error = Outer(std::io::Error::other("the disk is full"));
        assert_eq!(chain(&error), "cannot write the note: the disk is full");
    }

    #[test]
    fn what_the_host_lacks_is_told_from_what_is_not_there() {
        let of = |errno: Errno| host_lacks(&Outer(errno.into()));
        assert!(
            [Errno::MFILE, Errno::AGAIN, Errno::NOSPC]
                .map(of)
                .iter()
                .all(|is| *is)
        );
        assert!(
            ![Errno::NOENT, Errno::ACCESS, Errno::CONNREFUSED]
                .map(of)
                .iter()
                .any(|is| *is)
        );
        assert!(!host_lacks(&Outer(std::io::Error::other("no number"))));
    }
}
