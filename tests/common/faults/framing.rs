//! How the end of a body is announced, and how the body is encoded.

use std::io;

use async_compression::tokio::bufread;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Route;
use crate::common::images;
use crate::common::server::{After, Exchange, Length, Response, push_chunk};

pub const ROUTES: &[Route] = &[
    Route::png("/chunked/{n}[/name]", "chunks of odd sizes", |exchange| Box::pin(chunked(exchange))),
    Route::png("/until-close/{n}[/name]", "no length, the body ends with the connection", |exchange| {
        Box::pin(until_close(exchange))
    }),
    Route::png("/close-after/{n}[/name]", "`Connection: close`", |exchange| Box::pin(close_after(exchange))),
    Route::png("/encoded/{n}[/name]", "calls itself gzip and is not", |exchange| {
        Box::pin(async move { exchange.send(&exchange.whole().header("Content-Encoding", "gzip")).await })
    }),
    Route::png(
        "/packed/{coding}/{n}[/name]",
        "the image compressed as {coding}, or as gzip where the server knows no such coding",
        |exchange| Box::pin(packed(exchange)),
    ),
    Route::png(
        "/packed-cut/{n}[/name]",
        "as gzip without its last bytes, its end said by the connection's",
        |exchange| Box::pin(packed_cut(exchange)),
    ),
    Route::png("/packed-padded/{n}[/name]", "as gzip with zeros behind it", |exchange| {
        Box::pin(packed_padded(exchange))
    }),
    Route::png("/packed-broken/{n}[/name]", "as gzip with a damaged header", |exchange| {
        Box::pin(packed_broken(exchange))
    }),
    Route::bodiless("/bomb[/name]", "an image and zeros without end, as gzip, a kilobyte for a megabyte", |exchange| {
        Box::pin(bomb(exchange))
    }),
];

async fn chunked(exchange: &mut Exchange) -> io::Result<After> {
    let response = exchange.whole();
    let mut bytes = response.head(Length::Chunked);
    let mut rest = response.body.as_slice();
    for size in [1, 3, 17, 255, 1, 4099, 511, 13].into_iter().cycle() {
        let (piece, later) = rest.split_at(size.min(rest.len()));
        push_chunk(&mut bytes, piece.len(), piece);
        bytes.extend(b"\r\n");
        rest = later;
        if piece.is_empty() {
            break; // the empty chunk is the last
        }
    }
    exchange.finish(&bytes).await?;
    Ok(After::Open)
}

async fn until_close(exchange: &mut Exchange) -> io::Result<After> {
    let response = exchange.whole();
    exchange.write(&response.head(Length::Unsaid)).await?;
    exchange.finish(&response.body).await?;
    Ok(After::Close)
}

async fn close_after(exchange: &mut Exchange) -> io::Result<After> {
    exchange.send(&exchange.whole().header("Connection", "close")).await?;
    Ok(After::Close)
}

async fn packed(exchange: &mut Exchange) -> io::Result<After> {
    let body = exchange.whole().body;
    let coding = exchange.target.segment("coding");
    let packed = match coding {
        "br" => all(bufread::BrotliEncoder::new(&body[..])).await,
        "zstd" => all(bufread::ZstdEncoder::new(&body[..])).await,
        "deflate" => all(bufread::DeflateEncoder::new(&body[..])).await,
        _ => gzip(&body).await,
    };
    let response = Response::new(200, "image/png", packed).header("Content-Encoding", coding);
    exchange.send(&response.header("ETag", "\"packed\"")).await
}

async fn packed_cut(exchange: &mut Exchange) -> io::Result<After> {
    let mut packed = gzip(&exchange.whole().body).await;
    packed.truncate(packed.len() - 5);
    let response = Response::new(200, "image/png", packed).header("Content-Encoding", "gzip");
    exchange.write(&response.head(Length::Unsaid)).await?;
    exchange.finish(&response.body).await?;
    Ok(After::Close)
}

async fn packed_padded(exchange: &mut Exchange) -> io::Result<After> {
    let mut packed = gzip(&exchange.whole().body).await;
    packed.resize(packed.len().next_multiple_of(512), 0);
    exchange.send(&Response::new(200, "image/png", packed).header("Content-Encoding", "gzip")).await
}

async fn packed_broken(exchange: &mut Exchange) -> io::Result<After> {
    let mut packed = gzip(&exchange.whole().body).await;
    packed[0] = 0;
    exchange.send(&Response::new(200, "image/png", packed).header("Content-Encoding", "gzip")).await
}

async fn bomb(exchange: &mut Exchange) -> io::Result<After> {
    let response = Response::new(200, "image/png", Vec::new()).header("Content-Encoding", "gzip");
    exchange.write(&response.head(Length::Unsaid)).await?;
    exchange.write(&gzip(&images::png_start()).await).await?;
    // Compressed data may follow compressed data (RFC 1952, section 2.2).
    let zeros = gzip(&vec![0; 1 << 20]).await;
    loop {
        exchange.write(&zeros).await?;
    }
}

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    all(bufread::GzipEncoder::new(bytes)).await
}

async fn all(mut encoder: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut packed = Vec::new();
    encoder.read_to_end(&mut packed).await.expect("memory takes everything");
    packed
}
