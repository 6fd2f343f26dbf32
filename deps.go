//go:build deps
package deps
import (
 _ "github.com/hashicorp/raft"
 _ "github.com/hashicorp/raft-boltdb/v2"
 _ "github.com/hashicorp/memberlist"
 _ "github.com/hashicorp/raft-autopilot"
 _ "github.com/hashicorp/go-hclog"
 _ "go.etcd.io/bbolt"
 _ "google.golang.org/grpc"
 _ "google.golang.org/protobuf/proto"
 _ "go.opentelemetry.io/otel"
 _ "go.opentelemetry.io/otel/sdk/metric"
 _ "go.opentelemetry.io/otel/exporters/prometheus"
 _ "github.com/prometheus/client_golang/prometheus/promhttp"
 _ "github.com/spf13/cobra"
 _ "pgregory.net/rapid"
 _ "github.com/anishathalye/porcupine"
 _ "golang.org/x/sync/errgroup"
 _ "golang.org/x/sys/unix"
 _ "golang.org/x/time/rate"
 _ "github.com/klauspost/compress/zstd"
 _ "go.uber.org/goleak"
 _ "go.yaml.in/yaml/v3"
 _ "github.com/cespare/xxhash/v2"

)
