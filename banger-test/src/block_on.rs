//! Running an `async` test to its end.

/// Runs a future on a tokio runtime of its own, on this thread, with its timers and sockets.
///
/// # Panics
/// Where the future does, or the runtime cannot be made.
#[cfg(feature = "tokio")]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(future)
}

/// Runs a future on this thread, which sleeps until it is woken. Futures that need a runtime of
/// their own do not work here: see the feature `tokio`.
///
/// # Panics
/// Where the future does.
#[cfg(not(feature = "tokio"))]
pub fn block_on<F: Future>(future: F) -> F::Output {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Poll, Waker};

    #[test]
    fn a_future_that_is_woken_from_elsewhere_ends() {
        let (sender, wakers) = mpsc::channel::<Waker>();
        let waking = std::thread::spawn(move || wakers.recv().map(Waker::wake));
        let mut polled = false;
        let output = super::block_on(std::future::poll_fn(|context| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(7);
            }
            sender.send(context.waker().clone()).unwrap();
            Poll::Pending
        }));
        assert_eq!(output, 7);
        waking.join().unwrap().unwrap();
    }
}
