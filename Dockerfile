FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The queries were checked against the migrations; .sqlx/ holds what was found.
ENV SQLX_OFFLINE=true
RUN cargo build --release --locked --package turnlog

FROM debian:bookworm-slim
# What PDFs are set in.
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-noto-core fonts-noto-cjk \
    fonts-noto-color-emoji && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home turnlog
# Who may vouch for the servers that turnlog calls.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/turnlog /usr/local/bin/turnlog
USER turnlog
ENV LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["turnlog", "health"]
ENTRYPOINT ["turnlog"]
CMD ["serve", "all"]
