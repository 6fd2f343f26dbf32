package api

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// detailed makes a status with details. Without room for them the text stands
// alone.
func detailed(code codes.Code, text string, details ...protoadapt.MessageV1) error {
	s := status.New(code, text)
	if with, err := s.WithDetails(details...); err == nil {
		s = with
	}
	return s.Err()
}

// Reason returns the reason in a status's ErrorInfo, "" if it has none of ours,
// and the address of the leader if it names one.
func Reason(err error) (reason, leader string) {
	s, ok := status.FromError(err)
	if !ok {
		return "", ""
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == Domain {
			return info.Reason, info.Metadata["leader"]
		}
	}
	return "", ""
}
